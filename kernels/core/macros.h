// Compiler differences, each behind one name.
#pragma once

#if defined(__CUDACC__)
#define YOLOV1_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define YOLOV1_HOST_DEVICE inline __attribute__((always_inline))
#endif
