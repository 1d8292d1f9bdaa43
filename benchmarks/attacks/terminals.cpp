// Pushes characters into every terminal it can find, as if somebody had typed them.
// expect: ok | wall_s=3
#include <fcntl.h>
#include <initializer_list>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main() {
    int won = 0;
    const char *text = "echo @TOKEN@\n";
    for (const char *path : {"/dev/tty", "/dev/pts/0", "/dev/pts/1", "/dev/console", "/dev/ptmx"}) open(path, O_RDWR);
    for (int descriptor = 0; descriptor < 1024; descriptor++) {
        ioctl(descriptor, TIOCSCTTY, 1);
        for (const char *character = text; *character; character++)
            if (ioctl(descriptor, TIOCSTI, character) == 0) won++;
        char paste = 3;
        if (ioctl(descriptor, TIOCLINUX, &paste) == 0) won++;
        if (ioctl(descriptor, 0x100005412UL, text) == 0) won++;  // TIOCSTI to a filter that compares 64 bits
    }
    return won ? 1 : 0;
}
