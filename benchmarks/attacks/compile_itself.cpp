// Includes itself, twice each time: exponentially many lines.
// expect: compile_error | wall_s=3
#include __FILE__
#include __FILE__
int main() {}
