// What an op is, said once for all that call one: TensorFlow (tensorflow.cc), XLA (ffi.cc, xla.cc),
// NumPy and arrays on a GPU (bindings/). The table of the ops is in ops.h.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/dtype.h"

// Of the library of kernels, what its callers see; all else in it is hidden.
#define YOLOV1_EXPORT __attribute__((visibility("default")))

namespace yolov1 {

// ---------------------------------------------------------------------------------------- shapes
//
// While TensorFlow traces a graph, a size may be unknown, and so may the number of dimensions. Both
// fit anything.

using Shape = std::vector<int64_t>;

constexpr int64_t kUnknown = -1;  // a size
constexpr int64_t kAnyRank = -2;  // the only size of a shape of which nothing is known

inline bool Ranked(const Shape& shape) { return shape.size() != 1 || shape[0] != kAnyRank; }

// Whether all sizes are known.
inline bool Known(const Shape& shape) {
  for (int64_t size : shape)
    if (size < 0) return false;
  return true;
}

// Unknown, too, where there is no such dimension: the check of the rank comes after that.
inline int64_t Dim(const Shape& shape, size_t k) {
  return Ranked(shape) && k < shape.size() ? shape[k] : kUnknown;
}

inline bool Fits(int64_t a, int64_t b) { return a == b || a < 0 || b < 0; }
inline bool Fits(const Shape& shape, std::initializer_list<int64_t> sizes) {
  if (!Ranked(shape)) return true;
  if (shape.size() != sizes.size()) return false;
  size_t k = 0;
  for (int64_t size : sizes)
    if (!Fits(shape[k++], size)) return false;
  return true;
}

// "[2, ?, 3]"
inline std::string ShapeText(const Shape& shape) {
  std::string text = "[";
  for (size_t k = 0; k < shape.size(); ++k)
    text += (k ? ", " : "") + (shape[k] < 0 ? "?" : std::to_string(shape[k]));
  return text + "]";
}

// ----------------------------------------------------------------------------------------- calls

// A tensor of a call: its elements lie one behind another, in C's order.
struct View {
  DType type = DType::kFloat;
  Shape shape;
  void* data = nullptr;  // of inputs too, which are only read

  int64_t size() const {  // elements; all sizes are known
    int64_t count = 1;
    for (int64_t size : shape) count *= size;
    return count;
  }
};

// One call of an op. Callers may use one again and again: what memory it holds is then made once.
struct Call {
  const void* config = nullptr;  // what the op's `configure` made
  bool on_gpu = false;           // where the tensors are
  int version = 0;               // a place among the op's versions
  uint32_t left_out = 0;         // bit k: result k is not asked for; it has the shape [0], no data
  std::vector<View> in, out;     // `out`: outputs, then scratch

  template <typename Config>
  const Config& As() const {
    return *static_cast<const Config*>(config);
  }
  bool LeftOut(size_t result) const { return left_out >> result & 1; }

  // For `infer`: what result k is like.
  template <typename Sizes = std::initializer_list<int64_t>>  // or a Shape
  void Result(size_t k, DType type, const Sizes& sizes) {
    out[k].type = type;
    out[k].shape.assign(std::begin(sizes), std::end(sizes));
  }
};

// Runs work(begin, end) over parts of [0, count), on whatever threads the caller has; `cost`:
// nanoseconds that one unit takes on one core, roughly.
using ParallelFor = std::function<void(int64_t count, int64_t cost,
                                       const std::function<void(int64_t, int64_t)>& work)>;

// ------------------------------------------------------------------------------------------- ops

// What Op::cpu returns where there was no memory to work in.
constexpr const char* kOutOfMemory = "out of memory";
inline std::string OutOfMemoryUnless(bool done) { return done ? "" : kOutOfMemory; }

struct Op {
  const char* name = nullptr;  // of TensorFlow's op and of XLA's call: "Yolov1>YoloLoss"
  const char* face = nullptr;  // of the Python function, for messages: "yolo_loss"

  // The interface, as TensorFlow's REGISTER_OP takes it. An op with a `configure` has the attribute
  // "config: string". Attribute T has the dtypes that the op is registered for.
  std::vector<const char*> inputs, outputs, attributes;
  const char* doc = nullptr;

  // Names of further results, behind the outputs: memory to work in. No caller looks at them; XLA
  // and those who record CUDA graphs hand them over like a result.
  std::vector<const char*> scratch;
  // Attributes "name: bool" that ask for a result: without it, it is left out (Call::left_out).
  struct Request {
    const char* attribute;
    size_t result;
  };
  std::vector<Request> requests;
  // A result may take the memory of an input of its shape which nobody else needs.
  struct InPlace {
    int input = -1;  // none
    size_t result = 0;
    bool on_gpu = true;  // there, too
  };
  InPlace in_place;

  // Reads the text that configures the op. All functions return "", or what is wrong.
  std::string (*configure)(std::string_view text, std::shared_ptr<const void>* config) = nullptr;
  // What the results are like for such inputs, into call->out: dtypes and shapes, which may be
  // unknown as far as those of the inputs are.
  std::string (*infer)(Call* call) = nullptr;
  // Runs it. `infer` has been content, and all data is in place. kOutOfMemory is its own complaint.
  std::string (*cpu)(const Call& call, const ParallelFor& parallel) = nullptr;
  // The same on a GPU: queued on `stream`, a cudaStream_t. It neither allocates nor waits. Null in
  // a build without CUDA, or where there is no such kernel.
  std::string (*cuda)(const Call& call, void* stream) = nullptr;
  // On the CPU: whether result 0 is the input `in_place` names as it stands, so that nothing is to
  // be run.
  bool (*unchanged)(const Call& call) = nullptr;
  // The versions of the kernel on the CPU or a GPU, the best first.
  std::vector<std::string> (*versions)(bool on_gpu) = [](bool) {
    return std::vector<std::string>{"only"};
  };

  size_t results() const { return outputs.size() + scratch.size(); }
  bool takes_strings() const {
    for (const std::string_view input : inputs)
      if (input.substr(input.find(' ') + 1) == "string") return true;
    return false;
  }
};

#ifdef YOLOV1_CUDA
#define YOLOV1_CUDA_OR_NULL(FUNCTION) FUNCTION
#else
#define YOLOV1_CUDA_OR_NULL(FUNCTION) nullptr
#endif

// A `configure` of a function that parses.
template <typename Config, std::string (*parse)(std::string_view, Config*)>
std::string ConfigureBy(std::string_view text, std::shared_ptr<const void>* config) {
  auto made = std::make_shared<Config>();
  std::string error = parse(text, made.get());
  *config = std::move(made);
  return error;
}

// ----------------------------------------------------------------------------------- for callers

// op.infer, and what is left out is [0].
YOLOV1_EXPORT std::string Infer(const Op& op, Call* call);

// op.configure, for callers with nowhere to keep what it makes: a thread keeps each op's last, as
// parsing takes a microsecond, as much as a few images. Sets call->config, valid until the next.
YOLOV1_EXPORT std::string ConfigureAgain(const Op& op, std::string_view text, Call* call);

// Whether `given` are results of `call`, for which Infer() was content: "" or what they should be.
YOLOV1_EXPORT std::string CheckResults(const Op& op, const Call& call,
                                       const std::vector<View>& given);

// The name of a result: "loss" of "loss: Tloss".
YOLOV1_EXPORT std::string ResultName(const Op& op, size_t result);

}  // namespace yolov1
