/* Shifts the wall clock of a process by CLOCK_AHEAD_S seconds.  Every other clock, and so every wait, stays true. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead_s;

__attribute__((constructor)) static void begin(void) {
    const char *told = getenv("CLOCK_AHEAD_S");
    ahead_s = told ? atol(told) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead_s;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &fine)) return -1;
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *told) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (told) *told = fine.tv_sec;
    return fine.tv_sec;
}

/* How an older Python waits for a lock: until a moment of the wall clock, and the kernel knows the true one. */
int sem_timedwait(sem_t *restrict lock, const struct timespec *restrict until) {
    static int (*wait)(sem_t *, const struct timespec *);
    struct timespec true_until = *until;
    if (!wait) wait = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    true_until.tv_sec -= ahead_s;
    return wait(lock, &true_until);
}
