// Everything that touches TensorFlow's C++ surface, which changes between releases.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/platform/errors.h"
#include "tensorflow/core/util/work_sharder.h"

namespace yolov1 {

// Runs work(begin, end) over parts of [0, count) on TensorFlow's own threads. `cost` is the
// nanoseconds that one unit takes.
template <typename Work>
void ParallelFor(tensorflow::OpKernelContext* context, int64_t count, int64_t cost, Work work) {
  const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(workers.num_threads, workers.workers, count, cost, work);
}

// The enumerator at the position of a string attribute's value among `names`.
template <typename Enum, size_t count>
absl::Status GetChoice(tensorflow::OpKernelConstruction* context, const char* attribute,
                       const char* const (&names)[count], Enum* choice) {
  std::string value;
  TF_RETURN_IF_ERROR(context->GetAttr(attribute, &value));
  for (size_t k = 0; k < count; ++k) {
    if (value == names[k]) {
      *choice = static_cast<Enum>(k);
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(std::string(attribute) + " has an unknown value: " + value);
}

}  // namespace yolov1
