// Batched IoU on NumPy arrays.
#include <array>
#include <new>

#include "kernels/bindings/arrays.h"
#include "kernels/bindings/device_arrays.h"
#include "kernels/box_iou/kernel.h"

namespace yolov1 {
namespace {

using Inputs = std::array<py::array, 4>;  // boxes_a, boxes_b, valid_a, valid_b ([0] for none)

// Sets the configuration, sizes and inputs of `args`; returns the result's shape. `shape`:
// "pairwise" or "aligned".
std::vector<int64_t> Read(const std::string& shape, const std::string& config, const Inputs& inputs,
                          BoxIouArgs* args) {
  args->config.shape = shape == "aligned" ? IouShape::kAligned : IouShape::kPairwise;
  Check(ParseBoxIouConfig(config, &args->config));
  std::vector<int64_t> result;
  Check(ReadBoxIouShapes(args->config, Sizes(inputs[0]), Sizes(inputs[1]), Sizes(inputs[2]),
                         Sizes(inputs[3]), &args->sizes, &result));
  const auto mask = [](const py::array& valid) {
    return valid.size() == 0 ? nullptr : static_cast<const bool*>(valid.data());
  };
  args->type = ToDType(args->config.name(), inputs[0]);
  args->boxes_a = inputs[0].data();
  args->boxes_b = inputs[1].data();
  args->valid_a = mask(inputs[2]);
  args->valid_b = mask(inputs[3]);
  return result;
}

template <typename Kernel>  // BoxIouCpu or BoxIouGradientCpu
void Run(Kernel kernel, const BoxIouArgs& args, int64_t threads, const std::string& version) {
  const int number = FindVersion(args.config.name(), BoxIouVersions(), version);
  const ParallelFor parallel = [threads](int64_t count, int64_t, const auto& work) {
    RunThreads(threads, count, work);
  };
  py::gil_scoped_release release;
  if (!kernel(args, parallel, number)) throw std::bad_alloc();  // a MemoryError
}

// The functions below take C-contiguous arrays of one dtype, and masks of bool, and fill the
// outputs, whose dtypes and sizes fit (yolov1/kernels/ makes them). `version`: one of
// BoxIouVersions(), or empty for the first.

std::vector<int64_t> BoxIouShape(const std::string& shape, const std::string& config,
                                 const Inputs& inputs) {
  BoxIouArgs args;
  return Read(shape, config, inputs, &args);
}

void BoxIou(const std::string& shape, const std::string& config, const Inputs& inputs,
            py::array iou, int64_t threads, const std::string& version) {
  BoxIouArgs args;
  Read(shape, config, inputs, &args);
  args.iou = iou.mutable_data();
  Run(BoxIouCpu, args, threads, version);
}

void BoxIouGradient(const std::string& shape, const std::string& config, const Inputs& inputs,
                    const py::array& upstream, py::array gradient_a, py::array gradient_b,
                    int64_t threads, const std::string& version) {
  BoxIouArgs args;
  const std::vector<int64_t> result = Read(shape, config, inputs, &args);
  Check(CheckBoxIouUpstream(args.config, result, Sizes(upstream)));
  args.upstream = upstream.data();
  args.gradient_a = gradient_a.mutable_data();
  args.gradient_b = gradient_b.mutable_data();
  Run(BoxIouGradientCpu, args, threads, version);
}

#ifdef YOLOV1_CUDA

// The same in device memory, queued on a cudaStream_t. A mask may be null.
using DeviceInputs = std::array<const DeviceArray*, 4>;

std::vector<int64_t> Read(const std::string& shape, const std::string& config,
                          const DeviceInputs& inputs, BoxIouArgs* args) {
  const auto sizes = [&](int k) {
    return inputs[k] == nullptr ? std::vector<int64_t>{0} : inputs[k]->shape;
  };
  const auto mask = [&](int k) { return inputs[k] == nullptr ? nullptr : inputs[k]->data<bool>(); };
  args->config.shape = shape == "aligned" ? IouShape::kAligned : IouShape::kPairwise;
  Check(ParseBoxIouConfig(config, &args->config));
  std::vector<int64_t> result;
  Check(ReadBoxIouShapes(args->config, sizes(0), sizes(1), sizes(2), sizes(3), &args->sizes,
                         &result));
  args->type = ToDType(args->config.name(), inputs[0]->dtype);
  args->boxes_a = inputs[0]->data();
  args->boxes_b = inputs[1]->data();
  args->valid_a = mask(2);
  args->valid_b = mask(3);
  return result;
}

int64_t WorkspaceOnDevice(const std::string& shape, const std::string& config,
                          const DeviceInputs& inputs) {
  BoxIouArgs args;
  Read(shape, config, inputs, &args);
  return BoxIouWorkspace(args);
}

std::vector<int64_t> BoxIouShapeOnDevice(const std::string& shape, const std::string& config,
                                         const DeviceInputs& inputs) {
  BoxIouArgs args;
  return Read(shape, config, inputs, &args);
}

void BoxIouOnDevice(const std::string& shape, const std::string& config, const DeviceInputs& inputs,
                    const DeviceArray& iou, uintptr_t stream, const std::string& version) {
  BoxIouArgs args;
  Read(shape, config, inputs, &args);
  args.iou = iou.data();
  const int number = FindVersion(args.config.name(), BoxIouCudaVersions(), version);
  CheckLaunch([&] { return BoxIouCuda(args, reinterpret_cast<void*>(stream), number); });
}

void BoxIouGradientOnDevice(const std::string& shape, const std::string& config,
                            const DeviceInputs& inputs, const DeviceArray& upstream,
                            const DeviceArray& gradient_a, const DeviceArray& gradient_b,
                            const DeviceArray* workspace, uintptr_t stream,
                            const std::string& version) {
  BoxIouArgs args;
  const std::vector<int64_t> result = Read(shape, config, inputs, &args);
  Check(CheckBoxIouUpstream(args.config, result, upstream.shape));
  args.upstream = upstream.data();
  args.gradient_a = gradient_a.data();
  args.gradient_b = gradient_b.data();
  void* const memory = workspace == nullptr ? nullptr : workspace->data();
  const int number = FindVersion(args.config.name(), BoxIouCudaVersions(), version);
  CheckLaunch(
      [&] { return BoxIouGradientCuda(args, memory, reinterpret_cast<void*>(stream), number); });
}

#endif

}  // namespace

void BindBoxIou(py::module_& module) {
#ifdef YOLOV1_CUDA
  module.def("box_iou_cuda", &BoxIouOnDevice);
  module.def("box_iou_cuda_shape", &BoxIouShapeOnDevice);
  module.def("box_iou_cuda_gradient", &BoxIouGradientOnDevice);
  module.def("box_iou_cuda_workspace", &WorkspaceOnDevice);
  module.def("box_iou_cuda_versions", &BoxIouCudaVersions);
#endif
  module.def("box_iou_shape", &BoxIouShape);
  module.def("box_iou", &BoxIou);
  module.def("box_iou_gradient", &BoxIouGradient);
  module.def("box_iou_versions", &BoxIouVersions);
}

}  // namespace yolov1
