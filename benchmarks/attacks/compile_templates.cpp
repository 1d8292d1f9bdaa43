// Has the compiler instantiate exponentially many templates.
// expect: compile_error | wall_s=3
template <int depth, int path> struct Tree { static const long value = Tree<depth - 1, path * 2>::value + Tree<depth - 1, path * 2 + 1>::value; };
template <int path> struct Tree<0, path> { static const long value = path; };
int main() { return Tree<30, 1>::value != 0; }
