// From what size on memory is written past the caches.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>

namespace yolov1 {

// Bytes of the third-level cache that one core reaches; 0 where the system does not tell.
inline int64_t ThirdLevelCache() {
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

// What a call reads and writes, in bytes, from which on it does not stay in the caches: three
// quarters of the last one. Measured where it has 32 MB: at 17 MB writing past it took 1.3 times as
// long, at 34 MB 0.85 times, at 68 MB 0.8 times; where it has 260 MB: 1.18 times at 68 MB, 0.75
// times at 273 MB. Tests set it: results have the same bits either way.
inline std::atomic<int64_t>& StreamingBound() {
  static std::atomic<int64_t> bytes = [] {
    const int64_t cache = ThirdLevelCache();
    return (cache > 0 ? cache : int64_t{32} << 20) / 4 * 3;
  }();
  return bytes;
}

}  // namespace yolov1
