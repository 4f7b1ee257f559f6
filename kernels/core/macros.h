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
