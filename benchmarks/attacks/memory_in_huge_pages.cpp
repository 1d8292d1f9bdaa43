// Keeps one small page of every huge page it is given: the kernel keeps the rest until memory runs short.
// expect: ok error memory timeout | wall_s=4 cpu_s=4 memory_mb=96 | both peak
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

int main() {
    const size_t huge = 2 << 20;
    for (int i = 0; i < 350; i++) {
        char *area = (char *)mmap(0, 2 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED) break;
        char *page = (char *)(((uintptr_t)area + huge - 1) & ~(huge - 1));
        madvise(page, huge, MADV_HUGEPAGE);
        page[0] = 1;
        if (page > area) munmap(area, page - area);
        munmap(page + 4096, area + 2 * huge - (page + 4096));
    }
    usleep(300000);
}
