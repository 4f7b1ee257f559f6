// Compiler differences, each behind one name.
#pragma once

#if defined(__CUDACC__)
#define YOLOV1_HOST_DEVICE __host__ __device__ __forceinline__
#define YOLOV1_HOST_DEVICE_CALL __host__ __device__ __noinline__  // and never inlined
#else
#define YOLOV1_HOST_DEVICE inline __attribute__((always_inline))
#define YOLOV1_HOST_DEVICE_CALL __attribute__((noinline))
#endif
