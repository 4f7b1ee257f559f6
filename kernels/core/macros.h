// Compiler differences, each behind one name.
#pragma once

#if defined(__CUDACC__)
#define YOLOV1_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define YOLOV1_HOST_DEVICE inline __attribute__((always_inline))
#endif

// A function compiled once for each level of x86-64 and chosen when the library is loaded: one
// binary for SSE2 to AVX-512. What it calls must be inlined into it (YOLOV1_HOST_DEVICE is), or it
// stays SSE2. Elsewhere the compiler's own target is what there is. GCC 12 is the first that knows
// these level names here; the choice needs glibc's indirect functions.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__) && __GNUC__ >= 12 && \
    defined(__x86_64__) && defined(__gnu_linux__)
#define YOLOV1_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define YOLOV1_SIMD
#endif
