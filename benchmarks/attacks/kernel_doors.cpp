// Opens the wide doors into the kernel: io_uring, userfaultfd, BPF, performance counters, keys, modules, kexec.
// expect: ok | wall_s=3 | both
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int won = 0;
void attempt(const char *what, long result) { if (result >= 0) { won++; printf("%s\n", what); } }

int main() {
    unsigned char zeros[256] = {0};
    attempt("io_uring", syscall(425, 8, zeros));
    attempt("userfaultfd", syscall(SYS_userfaultfd, 0));
    attempt("userfaultfd for user faults", syscall(SYS_userfaultfd, 1));
    for (int command = 0; command < 20; command++) attempt("bpf", syscall(SYS_bpf, command, zeros, 120));
    zeros[4] = 112;  // perf_event_attr.size
    attempt("perf_event_open", syscall(SYS_perf_event_open, zeros, 0, -1, -1, 0));
    attempt("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -2));
    attempt("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    attempt("init_module", syscall(SYS_init_module, zeros, 256, ""));
    attempt("finit_module", syscall(SYS_finit_module, 0, "", 0));
    attempt("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    attempt("fanotify", syscall(SYS_fanotify_init, 0, 0));
    attempt("memfd_secret", syscall(447, 0));
    attempt("vmsplice", syscall(SYS_vmsplice, 1, zeros, 0, 0));
    attempt("lookup_dcookie", syscall(212, 0, zeros, 10));
    attempt("modify_ldt", syscall(154, 0, zeros, 16) > 0 ? 0 : -1);
    attempt("iopl", syscall(172, 3));
    attempt("ioperm", syscall(173, 0x80, 1, 1));
    attempt("uselib", syscall(134, "/usr/lib/x"));
    return won;
}
