// Attacks before main, in a static constructor, and ends there.
// expect: error | wall_s=3
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

struct Early {
    Early() {
        for (int descriptor = 3; descriptor < 1024; descriptor++)
            if (write(descriptor, "S\0\0\0\0", 5) == 5) puts("@TOKEN@ wrote into the sandbox's own pipes");
        kill(getppid(), SIGKILL);
        _exit(4);
    }
} early;

int main() { return 0; }
