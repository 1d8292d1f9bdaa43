// Asks for a socket of every family, kind and protocol the kernel might have.
// expect: ok | wall_s=3 | both
#include <initializer_list>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main() {
    int won = 0;
    for (int family = 0; family < 64; family++) {
        if (family == AF_UNIX) continue;
        for (int kind = 0; kind < 12; kind++)
            for (int protocol : {0, 1, 6, 17, 58, 132, 255, 0x0300}) {
                int made = socket(family, kind, protocol), pair[2];
                if (made >= 0) { won++; printf("%d %d %d\n", family, kind, protocol); close(made); }
                if (socketpair(family, kind, protocol, pair) == 0) { won++; printf("a pair of %d\n", family); }
            }
    }
    // Families that look like AF_UNIX to a filter that looks at fewer bits than the kernel.
    for (long family : {0x100000002L, 0x10001L, 0x1000AL})
        if (socket((int)family, SOCK_STREAM, 0) >= 0 && (int)family != AF_UNIX) won++;
    return won ? 1 : 0;
}
