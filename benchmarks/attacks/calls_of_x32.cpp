// Makes forbidden system calls by the numbers of the x32 ABI, which a careless filter takes for unknown ones.
// expect: ok error | wall_s=3
#include <initializer_list>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    int won = 0;
    const long bit = 0x40000000;
    char buffer[64] = {0};
    for (long number : {(long)SYS_unshare, (long)SYS_mount, (long)SYS_ptrace, (long)SYS_bpf, (long)SYS_socket, 521L, 512L + 27})
        for (long variant : {bit, 0x80000000L, bit | 0x80000000L, 0x100000000L})
            if (syscall(number | variant, number == SYS_socket ? 2L : (long)CLONE_NEWUSER, 1L, 0L, buffer, 0L) >= 0) {
                printf("%lx\n", number | variant);
                won++;
            }
    return won;
}
