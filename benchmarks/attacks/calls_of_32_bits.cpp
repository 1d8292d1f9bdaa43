// Makes forbidden system calls through the gate of 32-bit programs, with other numbers than the filter's.
// expect: error | wall_s=3 | both
#include <stdio.h>
#include <unistd.h>

int main() {
#if defined(__x86_64__)
    int result;
    asm volatile("int $0x80" : "=a"(result) : "a"(310), "b"(0x10000000) : "memory");  // unshare(CLONE_NEWUSER)
    printf("%d\n", result);
    if (result == 0) { puts("@TOKEN@ a namespace of my own"); return 0; }
#endif
    return 1;
}
