// Has the assembler put the host's files into the binary, to print them when it runs.
// expect: compile_error | wall_s=3
#include <stdio.h>
asm(".data\nsecret: .incbin \"@SECRET_OPEN@\"\n.byte 0\n.text");
extern char secret[] asm("secret");
int main() { puts(secret); }
