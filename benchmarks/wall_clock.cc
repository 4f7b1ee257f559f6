// clock() by the wall, to be preloaded: Darknet times its network with clock(), which counts the
// work of all threads together, so that a build with OpenMP would look no faster than it is busy.

#include <ctime>

extern "C" clock_t clock() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * CLOCKS_PER_SEC + now.tv_nsec / (1000000000 / CLOCKS_PER_SEC);
}
