// Takes all of the machine's asynchronous input and output, a number that everybody shares.
// expect: ok | wall_s=3
#include <sys/syscall.h>
#include <unistd.h>

int main() {
    unsigned long context[16] = {0};
    int won = 0;
    for (unsigned long &one : context) won += syscall(SYS_io_setup, 4000, &one) == 0;
    return won;
}
