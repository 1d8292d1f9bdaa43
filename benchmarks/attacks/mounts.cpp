// Mounts, binds, moves, unmounts and changes its root by every call there is.
// expect: ok | wall_s=3 | both
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int won = 0;
void attempt(const char *what, long result) { if (result >= 0) { won++; printf("%s\n", what); } }

int main() {
    mkdir("/tmp/m", 0700);
    attempt("proc", mount("proc", "/tmp/m", "proc", 0, 0));
    attempt("tmpfs", mount("x", "/tmp/m", "tmpfs", 0, "size=500m"));
    attempt("sysfs", mount("sys", "/tmp/m", "sysfs", 0, 0));
    attempt("devtmpfs", mount("dev", "/tmp/m", "devtmpfs", 0, 0));
    attempt("cgroup2", mount("c", "/tmp/m", "cgroup2", 0, 0));
    attempt("bind", mount("/", "/tmp/m", 0, MS_BIND | MS_REC, 0));
    attempt("remount", mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0));
    attempt("larger", mount(0, "/tmp", 0, MS_REMOUNT, "size=500m"));
    attempt("shared", mount(0, "/", 0, MS_SHARED | MS_REC, 0));
    attempt("umount /tmp", umount2("/tmp", MNT_DETACH));
    attempt("umount /", umount2("/", MNT_DETACH));
    attempt("pivot_root", syscall(SYS_pivot_root, ".", "."));
    attempt("chroot", chroot("/tmp"));
    attempt("fsopen", syscall(430, "tmpfs", 0));
    attempt("open_tree", syscall(428, AT_FDCWD, "/", 1));
    attempt("move_mount", syscall(429, AT_FDCWD, "/usr", AT_FDCWD, "/tmp/m", 0));
    attempt("mount_setattr", syscall(442, AT_FDCWD, "/", 0, "\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32));
    attempt("fspick", syscall(433, AT_FDCWD, "/tmp", 0));
    return won;
}
