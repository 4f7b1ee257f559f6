// Asynchronous copies to shared memory, on the host: they happen when they are waited for, so that
// a kernel which does not wait reads what was there before.
#pragma once

#include "tests/native/cuda/cuda_runtime.h"

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes) {
  cuda_on_host::Require(bytes == 4 || bytes == 8 || bytes == 16, "copies of 4, 8 or 16 bytes");
  cuda_on_host::Require(reinterpret_cast<uintptr_t>(to) % bytes == 0 &&
                            reinterpret_cast<uintptr_t>(from) % bytes == 0,
                        "aligned copies");
  cuda_on_host::Require(cuda_on_host::InSharedMemory(to, bytes), "copies to shared memory");
  cuda_on_host::Thread().copies.push_back({to, from, bytes});
}
inline void __pipeline_commit() {}
inline void __pipeline_wait_prior(size_t) {
  for (const auto& copy : cuda_on_host::Thread().copies) memcpy(copy.to, copy.from, copy.bytes);
  cuda_on_host::Thread().copies.clear();
}
