// Computes for ever in threads, and catches the signal of the CPU limit.
// expect: timeout | wall_s=6 cpu_s=0.5
#include <pthread.h>
#include <signal.h>

volatile long sink;

void *burn(void *) {
    for (;;) sink++;
}

int main() {
    signal(SIGXCPU, SIG_IGN);
    pthread_t thread;
    for (int i = 0; i < 3; i++) pthread_create(&thread, nullptr, burn, nullptr);
    burn(nullptr);
}
