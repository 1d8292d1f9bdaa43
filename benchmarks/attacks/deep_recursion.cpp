// Recurses for ever.
// expect: error memory | wall_s=3 memory_mb=128 | peak
#include <stdio.h>

int deeper(volatile char *above) {
    volatile char here[4096];
    here[0] = above[0];
    return deeper(here) + here[0];
}

int main() {
    char start[1] = {1};
    printf("%d\n", deeper(start));
}
