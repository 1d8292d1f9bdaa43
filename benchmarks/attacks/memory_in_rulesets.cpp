// Fills Landlock rule sets with rules, one for every port: kernel memory that belongs to descriptors.
// expect: ok error memory timeout | wall_s=4 cpu_s=4 memory_mb=64 | peak
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    const uint64_t handled[3] = {0, 1, 0};
    if (fork() == 0) fork();
    for (int i = 0; i < 50; i++) {
        int rules = syscall(444, handled, 16, 0);
        struct { uint64_t access, port; } rule = {1, 0};
        for (; rules >= 0 && rule.port < 65536; rule.port++) syscall(445, rules, 2, &rule, 0);
    }
    usleep(300000);
}
