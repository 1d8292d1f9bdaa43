// Includes the host's files, so that the compiler's complaints quote them, and puts them into its binary.
// expect: compile_error | wall_s=3 | both
#include "@SECRET_OPEN@"
#include "@SECRET_CLOSED@"
#include "/etc/passwd"
#include "/etc/shadow"
#include "/proc/self/environ"
#include "/proc/1/cmdline"
#include "../../../../../..@SECRET_OPEN@"
asm(".incbin \"@SECRET_OPEN@\"");
int main() {}
