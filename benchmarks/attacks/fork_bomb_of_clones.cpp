// Makes children by every kind of clone: vfork, CLONE_PARENT, CLONE_THREAD's relatives, no exit signal.
// expect: ok error timeout | wall_s=1.5 cpu_s=1 memory_mb=256 processes=8 | peak
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    const long kinds[] = {SIGCHLD, 0, SIGCHLD | CLONE_PARENT, CLONE_PARENT, SIGCHLD | CLONE_FILES, SIGCHLD | CLONE_IO};
    for (int i = 0; i < 500; i++)
        for (long kind : kinds)
            if (syscall(SYS_clone, kind, 0, 0, 0, 0) == 0) { usleep(300000); _exit(0); }
    usleep(300000);
}
