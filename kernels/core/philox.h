// Philox 4x32-10, a random generator that is a function of a key and a counter (Salmon, Moraes,
// Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011), with the bits of
// TensorFlow's tf.random.stateless_uniform(shape, seed=(a, b), alg="philox").
#pragma once

#include <cstdint>

#include "kernels/core/macros.h"
#include "kernels/core/simd.h"

namespace yolov1 {

struct Philox {
  uint32_t counter[4];
  uint32_t key[2];

  // The next four words.
  YOLOV1_HOST_DEVICE void Next(uint32_t* words) {
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; ++round) {
      const uint64_t a = uint64_t{0xd2511f53u} * c[0], b = uint64_t{0xcd9e8d57u} * c[2];
      const uint32_t next[4] = {
          static_cast<uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(b),
          static_cast<uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(a)};
      for (int i = 0; i < 4; ++i) c[i] = next[i];
      k[0] += 0x9e3779b9u;
      k[1] += 0xbb67ae85u;
    }
    for (int i = 0; i < 4; ++i) words[i] = c[i];
    for (int i = 0; i < 4 && ++counter[i] == 0; ++i) {
    }
  }

  // TensorFlow mixes a seed of two numbers before it is key and counter, so that any bits will do.
  YOLOV1_HOST_DEVICE Philox(int64_t a, int64_t b)
      : counter{static_cast<uint32_t>(a), static_cast<uint32_t>(static_cast<uint64_t>(a) >> 32),
                static_cast<uint32_t>(b), static_cast<uint32_t>(static_cast<uint64_t>(b) >> 32)},
        key{0x3ec8f720u, 0x02461e29u} {
    uint32_t mixed[4];
    Next(mixed);
    key[0] = mixed[0];
    key[1] = mixed[1];
    counter[0] = counter[1] = 0;
    counter[2] = mixed[2];
    counter[3] = mixed[3];
  }
};

// A word as a number in [0, 1): its lower 23 bits.
YOLOV1_HOST_DEVICE float ToUniform(uint32_t word) {
  return BitCast<float>((word & 0x7fffffu) | 0x3f800000u) - 1.0f;
}

}  // namespace yolov1
