// Includes a file without an end.
// expect: compile_error | wall_s=3
#include "/dev/zero"
#include "/dev/urandom"
int main() {}
