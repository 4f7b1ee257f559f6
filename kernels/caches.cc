// How much of what a call touches stays in the caches.
#include "kernels/caches.h"

#include <unistd.h>

#include <cstdio>

namespace yolov1 {
namespace {

// Bytes of the third-level cache that one core reaches; 0 where the system does not tell.
int64_t ThirdLevelCache() {
  // Before sysconf, which for some processors of AMD adds up what no single core can reach.
  if (std::FILE* const file = std::fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r")) {
    long size = 0;
    const int read = std::fscanf(file, "%ldK", &size);
    std::fclose(file);
    if (read == 1 && size > 0) return int64_t{1024} * size;
  }
#if defined(_SC_LEVEL3_CACHE_SIZE)
  const long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (size > 0) return size;
#endif
  return 0;
}

}  // namespace

std::atomic<int64_t>& StreamingBound() {
  static std::atomic<int64_t> bytes = [] {
    const int64_t cache = ThirdLevelCache();
    return (cache > 0 ? cache : int64_t{32} << 20) / 4 * 3;
  }();
  return bytes;
}

}  // namespace yolov1
