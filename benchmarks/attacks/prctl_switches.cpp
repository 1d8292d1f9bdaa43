// Turns the switches of its process that change what the sandbox can see and stop: dumps, signals, huge pages, tracers.
// expect: ok error | wall_s=3 | both
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int main() {
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    prctl(PR_SET_PTRACER, -1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    prctl(PR_SET_NAME, ") R 1 1 1 (", 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            setsid();
            signal(SIGHUP, SIG_IGN);
            if (fork() == 0) for (;;) pause();
            _exit(0);
        }
    usleep(50000);
}
