// Everything that touches TensorFlow's C++ surface, which changes between releases.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/core/dtype.h"
#include "kernels/parallel.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/lib/core/threadpool.h"
#include "tensorflow/core/platform/errors.h"
#include "tensorflow/core/util/work_sharder.h"
#include "xla/stream_executor/stream.h"

namespace yolov1 {

// Where an OpKernel runs: the one thing in which the kernels of an op differ.
enum class Device { CPU, GPU };

// The CUDA stream that TensorFlow has given the kernel.
inline void* Stream(tensorflow::OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}

// Of what a launch returns: "", or what is wrong.
inline absl::Status LaunchStatus(const std::string& error) {
  return error.empty() ? absl::OkStatus() : absl::InternalError(error);
}

// Runs work(begin, end) over parts of [0, count), on TensorFlow's own threads too
// (kernels/parallel.h), as many as the caller's thread may use: tf.data's max_intra_op_parallelism.
template <typename Work>
void ShareOut(tensorflow::OpKernelContext* context, int64_t count, int64_t cost, Work work) {
  const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
  const int threads = std::min(workers.num_threads, tensorflow::GetPerThreadMaxParallelism());
  ShareOut(threads, count, cost, [&](auto run) { workers.workers->Schedule(run); }, work);
}

inline std::vector<int64_t> Sizes(const tensorflow::TensorShape& shape) {
  const auto sizes = shape.dim_sizes();
  return {sizes.begin(), sizes.end()};
}

// The framework-free name of a dtype that an op's attribute allows.
inline DType ToDType(tensorflow::DataType type) {
  switch (type) {
    case tensorflow::DT_DOUBLE:
      return DType::kDouble;
    case tensorflow::DT_HALF:
      return DType::kHalf;
    case tensorflow::DT_BFLOAT16:
      return DType::kBfloat16;
    default:
      return DType::kFloat;
  }
}

}  // namespace yolov1
