// Fills shared memory in many processes and drops it from their page tables: it stays allocated, they look empty.
// expect: ok error memory timeout | wall_s=4 memory_mb=128 processes=16 | both peak
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main() {
    const size_t size = 100 << 20, step = 1 << 20;
    int zero = open("/dev/zero", O_RDWR);
    for (int i = 0; i < 14; i++) {
        if (fork() != 0) continue;
        int flags = i % 2 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
        char *held = (char *)mmap(0, size, PROT_READ | PROT_WRITE, flags, i % 2 ? -1 : zero, 0);
        if (held == MAP_FAILED) _exit(0);
        for (size_t at = 0; at < size; at += step) {
            memset(held + at, 1, step);
            madvise(held + at, step, MADV_DONTNEED);
        }
        usleep(600000);
        _exit(0);
    }
    while (wait(0) > 0) {}
}
