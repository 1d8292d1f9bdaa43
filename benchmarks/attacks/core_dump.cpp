// Raises its limit of core files and crashes, to have the kernel write one, or run the host's program for that.
// expect: error | wall_s=3
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int main() {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CORE, &limit);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    getrlimit(RLIMIT_CORE, &limit);
    // Only the limit 1 stops a core_pattern that is a pipe, see core(5) and coredump.c in the kernel.
    if (limit.rlim_cur == 1 && limit.rlim_max == 1) abort();
    return 0;
}
