// Changes the machine: clock, names, swap, log, quotas, accounting.
// expect: ok | wall_s=3 | both
#include <errno.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

int won = 0;
void attempt(const char *what, long result) { if (result >= 0) { won++; printf("%s\n", what); } }

int main() {
    struct timespec now;
    struct timeval day;
    clock_gettime(CLOCK_REALTIME, &now);
    gettimeofday(&day, 0);
    attempt("clock_settime", clock_settime(CLOCK_REALTIME, &now));
    attempt("settimeofday", settimeofday(&day, 0));
    struct timex adjustment = {};
    adjustment.modes = ADJ_TICK;
    adjustment.tick = 10000;
    attempt("adjtimex", adjtimex(&adjustment));
    attempt("sethostname", sethostname("@TOKEN@", 5));
    attempt("setdomainname", setdomainname("@TOKEN@", 5));
    attempt("reboot", reboot(RB_DISABLE_CAD));
    attempt("swapoff", swapoff("/tmp/none"));
    attempt("swapon", swapon("/tmp/program", 0));
    attempt("acct", acct("/tmp/program"));
    char log[64];
    attempt("syslog", syscall(SYS_syslog, 3, log, sizeof log));
    attempt("quotactl", syscall(SYS_quotactl, 0x80000700, "/dev/vda", 0, log));
    attempt("vhangup", vhangup());
    return won;
}
