// Sends the first process of its namespace every signal, to make the run look like the sandbox's own failure.
// expect: error | wall_s=3 | both
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    for (int number = 1; number < 65; number++) {
        kill(1, number);
        syscall(SYS_tgkill, 1, 1, number);
        siginfo_t info = {};
        info.si_code = SI_QUEUE;
        syscall(SYS_rt_sigqueueinfo, 1, number, &info);
    }
    usleep(200000);
    return 5;
}
