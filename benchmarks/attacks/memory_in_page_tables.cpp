// Reads one page of the zero page every gigabyte of address space: two page tables each, and no resident memory.
// expect: ok error memory timeout | wall_s=4 cpu_s=4 memory_mb=256 | both peak
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main() {
    for (int i = 0; i < 2; i++) {
        if (fork() != 0) continue;
        for (uint64_t at = 1; at < 58000; at++) {
            void *page = mmap((void *)(at << 30), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
            if (page != MAP_FAILED) (void)*(volatile char *)page;
        }
        usleep(300000);
        _exit(0);
    }
    while (wait(0) > 0) {}
}
