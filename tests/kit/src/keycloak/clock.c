/* Shifts the wall clock of a program that it is preloaded into by CLOCK_OFFSET seconds, for a
   company IdP whose clock is wrong. The monotonic clock, and with it every wait, stays as it is;
   libfaketime's hooks on waits make a JVM several times slower. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    const char *offset = getenv("CLOCK_OFFSET");
    if (offset) now->tv_sec += atol(offset);
  }
  return failed;
}
