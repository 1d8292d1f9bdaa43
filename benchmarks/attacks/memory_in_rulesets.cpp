// Makes Landlock rule sets, each with a rule for every port: kernel memory that belongs to descriptors.
// expect: ok | wall_s=4
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    const uint64_t handled[3] = {0, 1, 0};
    int made = 0;
    for (int i = 0; i < 20; i++) {
        int rules = syscall(444, handled, 16, 0);
        struct { uint64_t access, port; } rule = {1, 0};
        for (; rules >= 0 && rule.port < 65536; rule.port++) made += syscall(445, rules, 2, &rule, 0) == 0;
    }
    return made ? 1 : 0;
}
