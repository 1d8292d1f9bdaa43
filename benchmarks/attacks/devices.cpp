// Opens the machine's devices, and makes them where there are none.
// expect: ok | wall_s=3 | both
#include <fcntl.h>
#include <initializer_list>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int main() {
    int won = 0;
    for (const char *name : {"mem", "kmem", "port", "kmsg", "sda", "vda", "nvme0n1", "tty", "tty0", "console", "ptmx",
                             "kvm", "fuse", "loop-control", "net/tun", "hwrng", "rtc0", "vsock", "vhost-net", "cuse", "full",
                             "mapper/control", "userfaultfd", "dri/card0", "nvidia0", "nvidiactl", "shm/../mem"}) {
        char path[64];
        snprintf(path, sizeof path, "/dev/%s", name);
        for (int flags : {O_RDONLY, O_WRONLY | O_APPEND, O_RDWR})
            if (open(path, flags | O_NOCTTY | O_NONBLOCK) >= 0) { won++; printf("opened %s\n", path); }
    }
    const int numbers[][2] = {{1, 1}, {1, 2}, {1, 11}, {8, 0}, {253, 0}, {254, 0}, {259, 0}, {5, 0}, {5, 2}, {10, 229}, {10, 232}};
    for (auto number : numbers)
        for (int kind : {S_IFCHR, S_IFBLK})
            for (const char *folder : {"/tmp", "/dev", "/dev/shm"}) {
                char path[64];
                snprintf(path, sizeof path, "%s/d%d.%d.%x", folder, number[0], number[1], kind);
                if (mknod(path, kind | 0600, makedev(number[0], number[1])) == 0) { won++; printf("made %s\n", path); }
            }
    // The devices that are there belong to the host.
    for (const char *path : {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"}) {
        if (chmod(path, 0600) == 0 || chown(path, 1000, 1000) == 0 || unlink(path) == 0 || rename(path, "/tmp/x") == 0) {
            won++;
            printf("changed %s\n", path);
        }
    }
    return won;
}
