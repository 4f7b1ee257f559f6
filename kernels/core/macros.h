// Compiler differences, each behind one name.
#pragma once

#if defined(__CUDACC__)
#define YOLOV1_HOST_DEVICE __host__ __device__ __forceinline__
#define YOLOV1_HOST_DEVICE_CALL __host__ __device__ __noinline__  // and never inlined
// Before a template whose argument may be a function of the host or of the device.
#define YOLOV1_CALLS_EITHER _Pragma("nv_exec_check_disable")
#else
#define YOLOV1_HOST_DEVICE inline __attribute__((always_inline))
#define YOLOV1_HOST_DEVICE_CALL __attribute__((noinline))
#define YOLOV1_CALLS_EITHER
#endif

// The values of vectors a and b at four places, those of b counted from 4 on.
#if defined(__clang__)
#define YOLOV1_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else  // g++ 11 has but this one
#define YOLOV1_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, decltype((a) < (a)){__VA_ARGS__})
#endif
