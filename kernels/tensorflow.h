// Everything that touches TensorFlow's C++ surface, which changes between releases.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/op.h"
#include "kernels/parallel.h"
#include "tensorflow/core/framework/kernel_def_builder.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/lib/core/threadpool.h"
#include "tensorflow/core/platform/errors.h"
#include "tensorflow/core/util/work_sharder.h"
#include "xla/stream_executor/stream.h"

namespace yolov1 {

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

// ------------------------------------------------------------------------------------------- ops

// What an OpKernel of a table's op keeps: the same for XLA's.
struct Configured {
  const Op* op = nullptr;
  std::string text;  // of `config`, or ""
  std::shared_ptr<const void> config;
  bool on_gpu = false;
  uint32_t left_out = 0;

  // Reads the attributes of a kernel that is being made, and checks its dtypes.
  absl::Status Read(tensorflow::OpKernelConstruction* context, bool is_on_gpu);

  // Whether the inputs of `call`, which stand in it already, fit; then what its results are like.
  absl::Status Infer(Call* call) const;
};

// The dtypes that `op` is registered for: those of its attribute T.
tensorflow::DataTypeVector Types(const Op& op);

// The framework-free name of a dtype that the interface of an op allows, and back.
DType ToDType(tensorflow::DataType type);
tensorflow::DataType ToDataType(DType type);

inline Shape Sizes(const tensorflow::TensorShape& shape) {
  const auto sizes = shape.dim_sizes();
  return {sizes.begin(), sizes.end()};
}

// Registers a kernel of `op`: Kernel is a class of OpKernel. A macro would do it for one op.
template <typename Kernel>
void RegisterKernel(const Op& op, const char* device) {
  const tensorflow::DataTypeVector types = Types(op);
  tensorflow::KernelDefBuilder builder(op.name);
  builder.Device(device).TypeConstraint("T", types);
  tensorflow::kernel_factory::OpKernelRegistrar(
      builder.Build(), op.name,
      [](tensorflow::OpKernelConstruction* context) -> tensorflow::OpKernel* {
        return new Kernel(context);
      });
}

}  // namespace yolov1
