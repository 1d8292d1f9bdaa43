// Macros that grow tenfold each: more text than any memory holds.
// expect: compile_error | wall_s=3
#define A(x) x x x x x x x x x x
#define B(x) A(x) A(x) A(x) A(x) A(x) A(x) A(x) A(x) A(x) A(x)
#define C(x) B(B(B(B(B(B(B(x)))))))
int main() { int n = 0; C(n++;) return n; }
