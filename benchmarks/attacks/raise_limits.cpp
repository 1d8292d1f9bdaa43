// Raises its limits and its priority, its own and those of the processes above it.
// expect: ok | wall_s=3 | both
#include <initializer_list>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    int won = 0;
    for (int which = 0; which < 16; which++) {
        struct rlimit old, more = {RLIM_INFINITY, RLIM_INFINITY}, now;
        getrlimit((__rlimit_resource)which, &old);
        setrlimit((__rlimit_resource)which, &more);
        for (int pid : {0, 1, (int)getpid(), (int)getppid()}) syscall(SYS_prlimit64, pid, which, &more, 0);
        getrlimit((__rlimit_resource)which, &now);
        if (now.rlim_max != old.rlim_max) { won++; printf("limit %d\n", which); }
    }
    struct sched_param real_time = {10};
    for (int policy : {SCHED_FIFO, SCHED_RR, 6}) if (sched_setscheduler(0, policy, &real_time) == 0) { won++; puts("real time"); }
    if (setpriority(PRIO_PROCESS, 0, -5) == 0) { won++; puts("priority"); }
    for (int pid = 1; pid < 10; pid++)
        if (pid != getpid() && setpriority(PRIO_PROCESS, pid, 19) == 0 && pid != 1) { won++; printf("priority of %d\n", pid); }
    if (syscall(SYS_ioprio_set, 1, 0, 1 << 13) == 0) { won++; puts("real-time input and output"); }
    return won;
}
