// Traces, reads and writes every process it can name, above all the one that started it.
// expect: ok | wall_s=3 | both
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int main() {
    int won = 0;
    char buffer[64];
    for (int pid = 1; pid < 300; pid++) {
        if (pid == getpid()) continue;
        struct iovec here = {buffer, sizeof buffer}, there = {(void *)0x400000, sizeof buffer};
        won += ptrace(PTRACE_ATTACH, pid, 0, 0) >= 0;
        won += ptrace(PTRACE_SEIZE, pid, 0, 0) >= 0;
        won += process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0;
        won += process_vm_writev(pid, &here, 1, &there, 1, 0) >= 0;
        won += syscall(SYS_kcmp, pid, getpid(), 0, 0, 0) >= 0;
        long process = syscall(434, pid, 0);
        for (int descriptor = 0; process >= 0 && descriptor < 10; descriptor++)
            won += syscall(438, process, descriptor, 0) >= 0;
    }
    return won ? 1 : 0;
}
