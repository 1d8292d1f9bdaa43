// Makes namespaces of its own, in which it would be root, and enters those of others.
// expect: ok | wall_s=3 | both
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int won = 0;
void attempt(const char *what, long flag, long result) {
    if (result == 0 && getpid() < 0) _exit(99);
    if (result >= 0) { won++; printf("%s %lx\n", what, flag); }
}

int main() {
    const long kinds[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80};
    for (long kind : kinds) {
        attempt("unshare", kind, unshare((int)kind));
        attempt("unshare with user", kind, unshare((int)(kind | CLONE_NEWUSER)));
        if (kind == 0x80) continue;  // to clone() this bit is part of a signal's number
        long child = syscall(SYS_clone, kind | SIGCHLD, 0, 0, 0, 0);
        if (child == 0) _exit(0);
        attempt("clone", kind, child);
        uint64_t arguments[11] = {(uint64_t)(kind | CLONE_NEWUSER), 0, 0, 0, SIGCHLD};
        child = syscall(435, arguments, sizeof arguments);
        if (child == 0) _exit(0);
        attempt("clone3", kind, child);
    }
    const char *names[] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"};
    for (int pid = 1; pid < 10; pid++)
        for (const char *name : names) {
            char path[64];
            snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
            int space = open(path, O_RDONLY);
            if (space >= 0) attempt(path, 0, setns(space, 0));
        }
    for (int descriptor = 0; descriptor < 64; descriptor++) attempt("setns", descriptor, setns(descriptor, 0));
    for (int pid = 1; pid < 10; pid++) {
        int process = syscall(434, pid, 0);
        if (process >= 0) attempt("setns of a process", pid, setns(process, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET));
    }
    return won;
}
