// Opens the host's files by handle, guessing the numbers of its inodes, as broke out of early containers.
// expect: ok | wall_s=3
#include <fcntl.h>
#include <initializer_list>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main() {
    struct { file_handle head; unsigned char bytes[128]; } handle;
    int mount, opened = 0;
    for (const char *path : {"/", "/usr", "/tmp", "/usr/bin"}) {
        handle.head.handle_bytes = 128;
        int seen = name_to_handle_at(AT_FDCWD, path, &handle.head, &mount, 0);
        int folder = open(path, O_RDONLY);
        for (unsigned inode = 2; inode < 3000; inode++) {
            if (seen != 0) { handle.head.handle_bytes = 8; handle.head.handle_type = 1; memset(handle.bytes, 0, 8); }
            memcpy(handle.bytes, &inode, 4);
            int file = open_by_handle_at(folder, &handle.head, O_RDONLY);
            if (file >= 0) { opened++; close(file); }
        }
    }
    return opened ? 1 : 0;
}
