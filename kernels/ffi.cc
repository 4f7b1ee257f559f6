// The table's ops as functions that XLA calls:
//   operands   the op's inputs
//   attribute  config, where the op has one
//   results    the op's outputs, then its scratch; one that can be asked for may be [0]: then it is
//              left out. Scratch is a result and not memory of the call, since what is recorded
//              into a CUDA graph needs it each time the graph runs.
//
// XLA's headers for this need the standard library alone and its calling convention is stable: one
// object serves TensorFlow and JAX. Configurations are kept by thread and not in the state of an
// instantiated call: a state's type has to be registered with each XLA, by an interface that does
// change.
#include "kernels/ffi_targets.h"

#ifdef YOLOV1_XLA
#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "kernels/ops.h"
#include "kernels/parallel.h"
#include "xla/ffi/api/ffi.h"

namespace yolov1 {
namespace {

namespace ffi = xla::ffi;

bool Read(const ffi::AnyBuffer& buffer, View* view) {
  // What a DType is called in XLA, in the order of its values.
  constexpr ffi::DataType kTypes[] = {ffi::F32,  ffi::F64, ffi::F16, ffi::BF16,
                                      ffi::PRED, ffi::S32, ffi::U8,  ffi::S64};
  const auto* type = std::find(kTypes, std::end(kTypes), buffer.element_type());
  view->type = static_cast<DType>(type - kTypes);
  view->shape.assign(buffer.dimensions().begin(), buffer.dimensions().end());
  view->data = buffer.untyped_data();
  return type != std::end(kTypes);
}

// All tensors of a call into `call`, checked, and its configuration.
ffi::Error Read(const Op& op, ffi::Dictionary attributes, ffi::RemainingArgs operands,
                ffi::RemainingRets results, Call* call) {
  const auto refused = [&](const std::string& error) { return ffi::Error::InvalidArgument(error); };
  thread_local std::vector<View> given;
  call->in.resize(operands.size());
  given.resize(results.size());
  bool known = true;
  for (size_t k = 0; k < operands.size(); ++k)
    known &= Read(*operands.get<ffi::AnyBuffer>(k), &call->in[k]);
  for (size_t k = 0; k < results.size(); ++k)
    known &= Read(**results.get<ffi::AnyBuffer>(k), &given[k]);
  if (!known)
    return refused(
        std::string(op.face) +
        ": a tensor is none of float32, float64, float16, bfloat16, bool, int32, uint8, int64.");

  if (op.configure != nullptr) {
    const auto text = attributes.get<std::string_view>("config");
    if (!text) return refused(std::string(op.face) + ": the attribute config is missing.");
    const std::string error = ConfigureAgain(op, *text, call);
    if (!error.empty()) return refused(error);
  }
  call->left_out = 0;
  for (const Op::Request& request : op.requests) {
    if (request.result >= given.size()) continue;
    const Shape& shape = given[request.result].shape;
    if (shape.size() == 1 && shape[0] == 0) call->left_out |= 1u << request.result;
  }
  std::string error = Infer(op, call);
  if (error.empty()) error = CheckResults(op, *call, given);
  if (!error.empty()) return refused(error);
  for (size_t k = 0; k < given.size(); ++k)
    call->out[k].data = call->LeftOut(k) ? nullptr : given[k].data;
  return ffi::Error::Success();
}

ffi::Error OnHost(const Op& op, ffi::ThreadPool pool, ffi::Dictionary attributes,
                  ffi::RemainingArgs operands, ffi::RemainingRets results) {
  thread_local Call call;
  ffi::Error error = Read(op, attributes, operands, results, &call);
  if (error.failure()) return error;
  const ParallelFor parallel = [&pool](int64_t count, int64_t cost, const auto& work) {
    ShareOut(
        pool.num_threads(), count, cost, [&](auto run) { pool.Schedule(std::move(run)); },
        std::ref(work));
  };
  const std::string wrong = op.cpu(call, parallel);
  if (wrong.empty()) return error;
  if (wrong != kOutOfMemory) return ffi::Error::InvalidArgument(wrong);
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, std::string(op.face) + ": " + wrong + ".");
}

#ifdef YOLOV1_CUDA
ffi::Error OnCuda(const Op& op, void* stream, ffi::Dictionary attributes,
                  ffi::RemainingArgs operands, ffi::RemainingRets results) {
  thread_local Call call;
  call.on_gpu = true;
  ffi::Error error = Read(op, attributes, operands, results, &call);
  if (error.failure()) return error;
  const std::string wrong = op.cuda(call, stream);
  return wrong.empty() ? error : ffi::Error::Internal(wrong);
}
#endif

// XLA calls a function that is told nothing of its name: there is one for each op of the table.
template <const Op& op, typename Context, auto run>
XLA_FFI_Error* Handle(XLA_FFI_CallFrame* frame) {
  static const auto handler =
      ffi::Ffi::Bind().Ctx<Context>().Attrs().RemainingArgs().RemainingRets().To(
          [](auto context, ffi::Dictionary attributes, ffi::RemainingArgs operands,
             ffi::RemainingRets results) {
            return run(op, context, attributes, operands, results);
          },
          // A call on a GPU only queues kernels, so XLA may record it into a CUDA graph.
          {std::is_same_v<Context, ffi::ThreadPool> ? ffi::Traits{}
                                                    : ffi::Traits::kCmdBufferCompatible});
  return handler->Call(frame);
}

template <size_t... k>
std::vector<FfiTarget> Targets(std::index_sequence<k...>) {
  std::vector<FfiTarget> targets;
  const auto add = [&](const Op& op, const char* platform, XLA_FFI_Handler* handler) {
    targets.push_back({op.name, platform, reinterpret_cast<void*>(handler)});
  };
  ((kOps[k]->takes_strings() ? void()
                             : add(*kOps[k], "Host", Handle<*kOps[k], ffi::ThreadPool, OnHost>)),
   ...);
#ifdef YOLOV1_CUDA
  ((kOps[k]->cuda ? add(*kOps[k], "CUDA", Handle<*kOps[k], ffi::PlatformStream<void*>, OnCuda>)
                  : void()),
   ...);
#endif
  return targets;
}

}  // namespace

std::vector<FfiTarget> FfiTargets() { return Targets(std::make_index_sequence<std::size(kOps)>()); }

}  // namespace yolov1
#else
std::vector<yolov1::FfiTarget> yolov1::FfiTargets() { return {}; }
#endif
