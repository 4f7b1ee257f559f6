// The table's ops on NumPy arrays and on arrays on a GPU. yolov1/kernels/ makes its arrays fit: all
// are C-contiguous, and dtypes those that a call of the op has.
#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "kernels/bindings/arrays.h"
#include "kernels/bindings/device_arrays.h"
#include "kernels/ops.h"

namespace yolov1 {
namespace {

const Op& Find(const std::string& name) {
  for (const Op* op : kOps)
    if (name == op->name) return *op;
  throw py::key_error("there is no op " + name);
}

DType ToDType(const Op& op, const std::string& name) {
  for (DType type : {DType::kFloat, DType::kDouble, DType::kHalf, DType::kBfloat16, DType::kBool,
                     DType::kInt32, DType::kUint8, DType::kInt64})
    if (name == DTypeName(type)) return type;
  throw py::type_error(std::string(op.face) + ": unknown dtype " + name);
}

// Infer(), whose complaint becomes a TypeError where it is one of the dtypes: where it stays the
// same whatever the shapes.
void InferOrThrow(const Op& op, Call* call) {
  const std::string error = Infer(op, call);
  if (error.empty()) return;
  for (View& input : call->in) input.shape = {kAnyRank};
  if (Infer(op, call) == error) throw py::type_error(error);
  throw py::value_error(error);
}

// None where there is no such kernel: for a GPU, in a build without CUDA.
std::vector<std::string> VersionsOf(const Op& op, bool on_gpu) {
  return on_gpu && op.cuda == nullptr ? std::vector<std::string>() : op.versions(on_gpu);
}

// The place of `version` among the op's; the first for "".
int FindVersion(const Op& op, bool on_gpu, const std::string& version) {
  if (version.empty()) return 0;
  const std::vector<std::string> versions = VersionsOf(op, on_gpu);
  const auto found = std::find(versions.begin(), versions.end(), version);
  if (found != versions.end()) return static_cast<int>(found - versions.begin());
  std::string expected;
  for (const std::string& name : versions) expected += (expected.empty() ? "" : ", ") + name;
  throw py::value_error(std::string(op.face) + ": this processor's kernel versions are " +
                        expected + ", got " + version + ".");
}

// ----------------------------------------------------------------------------------------- NumPy

// Of an array of Python's bytes objects: views of them. An op has one input of strings at most.
void ReadStrings(const Op& op, const py::array& array, View* view) {
  thread_local std::vector<std::string_view> views;
  views.clear();
  for (const py::handle item : array.attr("ravel")()) {
    if (!PyBytes_Check(item.ptr()))
      throw py::type_error(std::string(op.face) + ": expected bytes objects, got a " +
                           std::string(py::str(py::type::of(item).attr("__name__"))) + ".");
    views.emplace_back(PyBytes_AS_STRING(item.ptr()), PyBytes_GET_SIZE(item.ptr()));
  }
  view->type = DType::kString;
  view->shape.assign(array.shape(), array.shape() + array.ndim());
  view->data = views.data();
}

void Read(const Op& op, const py::array& array, View* view) {
  switch (const py::dtype dtype = array.dtype(); dtype.num()) {  // the usual ones by NumPy's number
    case py::detail::npy_api::NPY_FLOAT_:
      view->type = DType::kFloat;
      break;
    case py::detail::npy_api::NPY_BOOL_:
      view->type = DType::kBool;
      break;
    case py::detail::npy_api::NPY_OBJECT_:
      return ReadStrings(op, array, view);
    default:
      view->type = ToDType(op, py::str(dtype.attr("name")));
  }
  view->shape.assign(array.shape(), array.shape() + array.ndim());
  view->data = const_cast<void*>(array.data());
  const char order = array.dtype().byteorder();
  if (!(array.flags() & py::array::c_style) || (order != '=' && order != '|'))
    throw py::value_error(std::string(op.face) + ": arrays of a native call must be C-contiguous " +
                          "and in the machine's byte order; take np.ascontiguousarray.");
}

// Refuses what may not be missing: results that no attribute asks for.
void CheckLeftOut(const Op& op, uint32_t left_out) {
  for (const Op::Request& request : op.requests) left_out &= ~(1u << request.result);
  if (left_out != 0)
    throw py::value_error(std::string(op.face) +
                          ": left_out has a result that cannot be left out.");
}

// A new array for a result. No dtype of NumPy's own is bfloat16: it comes from an input's.
py::array Empty(const View& result, const Call& call, const std::vector<py::array>& inputs) {
  for (size_t k = 0; k < inputs.size(); ++k)
    if (call.in[k].type == result.type) return py::array(inputs[k].dtype(), result.shape);
  if (result.type == DType::kInt32) return py::array(py::dtype::of<int32_t>(), result.shape);
  return py::array(py::dtype(DTypeName(result.type)), result.shape);  // by name: half a microsecond
}

// The results: `outputs`, where they are given, else new arrays; None for what is left out.
py::list CallOnCpu(const std::string& name, const std::string& config,
                   const std::vector<py::array>& inputs, uint32_t left_out,
                   const std::optional<std::vector<std::optional<py::array>>>& outputs,
                   int64_t threads, const std::string& version) {
  const Op& op = Find(name);
  CheckLeftOut(op, left_out);
  if (outputs && outputs->size() != op.results())
    throw py::value_error(std::string(op.face) + ": outputs must be " +
                          std::to_string(op.results()) + " arrays or None, got " +
                          std::to_string(outputs->size()) + ".");
  thread_local Call call;
  Check(ConfigureAgain(op, config, &call));
  call.version = FindVersion(op, false, version);
  call.left_out = left_out;
  for (const Op::Request& request : op.requests)
    if (outputs && !outputs->at(request.result)) call.left_out |= 1u << request.result;
  call.in.resize(inputs.size());
  for (size_t k = 0; k < inputs.size(); ++k) Read(op, inputs[k], &call.in[k]);
  InferOrThrow(op, &call);

  py::list results;
  std::vector<View> given;
  if (outputs) given = call.out;
  for (size_t k = 0; k < call.out.size(); ++k) {
    if (call.LeftOut(k) || (outputs && !outputs->at(k))) {
      if (outputs) given[k].shape = {0};
      call.out[k].data = nullptr;
      results.append(py::none());
      continue;
    }
    py::array array = outputs ? *outputs->at(k) : Empty(call.out[k], call, inputs);
    if (outputs) Read(op, array, &given[k]);
    call.out[k].data = array.mutable_data();
    results.append(std::move(array));
  }
  if (outputs) Check(CheckResults(op, call, given));
  std::string error;
  {
    py::gil_scoped_release release;
    error = op.cpu(call, [threads](int64_t count, int64_t, const auto& work) {
      RunThreads(threads, count, work);
    });
  }
  if (error == kOutOfMemory) throw std::bad_alloc();  // a MemoryError
  Check(error);
  return results;
}

// ----------------------------------------------------------------------------------------- a GPU

#ifdef YOLOV1_CUDA

using DeviceArrays = std::vector<const DeviceArray*>;

// Null is [0]: no mask, a result that is left out or takes no memory.
View ToView(const Op& op, const DeviceArray* array, DType if_null) {
  if (array == nullptr) return {if_null, {0}};
  return {ToDType(op, array->dtype), array->shape, array->data()};
}

Call ReadOnGpu(const Op& op, const std::string& config, const DeviceArrays& inputs,
               uint32_t left_out) {
  if (op.cuda == nullptr)
    throw py::value_error(std::string(op.face) + ": " + op.name +
                          " has no CUDA kernel in this build; copy its arrays to the host.");
  CheckLeftOut(op, left_out);
  Call call;
  call.on_gpu = true;
  call.left_out = left_out;
  Check(ConfigureAgain(op, config, &call));
  for (const DeviceArray* input : inputs) call.in.push_back(ToView(op, input, DType::kBool));
  InferOrThrow(op, &call);
  return call;
}

// (shape, dtype) of each result, or None for one that is left out or takes no memory to work in.
py::list ResultsOnGpu(const std::string& name, const std::string& config,
                      const DeviceArrays& inputs, uint32_t left_out) {
  const Op& op = Find(name);
  const Call call = ReadOnGpu(op, config, inputs, left_out);
  py::list results;
  for (size_t k = 0; k < call.out.size(); ++k) {
    const View& result = call.out[k];
    if (call.LeftOut(k) || (k >= op.outputs.size() && result.size() == 0))
      results.append(py::none());
    else
      results.append(py::make_tuple(result.shape, DTypeName(result.type)));
  }
  return results;
}

// Queues the call on a cudaStream_t.
void CallOnGpu(const std::string& name, const std::string& config, const DeviceArrays& inputs,
               uint32_t left_out, const DeviceArrays& outputs, uintptr_t stream,
               const std::string& version) {
  const Op& op = Find(name);
  Call call = ReadOnGpu(op, config, inputs, left_out);
  call.version = FindVersion(op, true, version);
  std::vector<View> given;
  for (size_t k = 0; k < outputs.size(); ++k)
    given.push_back(ToView(op, outputs[k], call.out[std::min(k, call.out.size() - 1)].type));
  Check(CheckResults(op, call, given));
  call.out = given;
  CheckLaunch([&] { return op.cuda(call, reinterpret_cast<void*>(stream)); });
}

#endif

}  // namespace

void BindCalls(py::module_& module) {
  module.def("call", &CallOnCpu);
  module.def("versions",
             [](const std::string& name, bool on_gpu) { return VersionsOf(Find(name), on_gpu); });
#ifdef YOLOV1_CUDA
  module.def("call_on_gpu", &CallOnGpu);
  module.def("results_on_gpu", &ResultsOnGpu);
#endif
}

}  // namespace yolov1
