// Takes back rights it was made to give up, and those of a set-user-ID file of its own.
// expect: ok | wall_s=3 | both
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int won = 0;
void attempt(const char *what, bool did) { if (did) { won++; printf("%s\n", what); } }

int main(int count, char **) {
    if (count > 1) return geteuid() == 1000 ? 0 : 1;
    uint32_t header[2] = {0x20080522, 0}, all[6] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u}, seen[6] = {0};
    attempt("capset", syscall(SYS_capset, header, all) == 0);
    syscall(SYS_capget, header, seen);
    attempt("has capabilities", seen[0] | seen[1] | seen[2] | seen[3] | seen[4] | seen[5]);
    for (int capability = 0; capability < 41; capability++) {
        attempt("bounding set", prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1);
        attempt("ambient set", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0);
    }
    attempt("setuid", setuid(0) == 0);
    attempt("setresuid", setresuid(0, 0, 0) == 0);
    attempt("setgid", setgid(0) == 0);
    gid_t root = 0;
    attempt("setgroups", setgroups(1, &root) == 0);
    setfsuid(0);
    attempt("setfsuid", setfsuid(-1) == 0);
    attempt("securebits", prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0);
    prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    attempt("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1);
    attempt("seccomp off", prctl(PR_SET_SECCOMP, 0, 0, 0, 0) == 0 || prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2);
    attempt("chown", chown("/tmp/program", 0, 0) == 0);
    chmod("/tmp/program", 06755);
    if (fork() == 0) { execl("/tmp/program", "/tmp/program", "again", (char *)0); _exit(1); }
    int status = 0;
    wait(&status);
    attempt("set-user-ID", status != 0);
    return won;
}
