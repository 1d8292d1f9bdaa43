// Leaves kernel objects for the next run: System V and POSIX queues, semaphores, shared memory, keys, names.
// expect: ok | wall_s=3 | both twice
#include <errno.h>
#include <fcntl.h>
#include <initializer_list>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    int found = 0;
    for (int round = 0; round < 2; round++) {
        // First it looks for what another run left, then it leaves it.
        int flags = (round ? IPC_CREAT : 0) | 0666;
        long made[] = {shmget(0x7417, 1 << 20, flags), semget(0x7417, 1, flags), msgget(0x7417, flags)};
        for (long object : made) if (round == 0 && object >= 0) found++;
        long queue = syscall(SYS_mq_open, "left", (round ? O_CREAT : 0) | O_RDWR, 0666, 0);
        if (round == 0 && queue >= 0) found++;
        for (int ring : {-1, -2, -3, -4, -5}) {
            if (round) syscall(SYS_add_key, "user", "left", "x", 1, ring);
            else if (syscall(SYS_request_key, "user", "left", 0, ring) >= 0) found++;
            if (round == 0 && syscall(SYS_keyctl, 10, ring, "user", "left", 0) >= 0) found++;
        }
    }
    return found;
}
