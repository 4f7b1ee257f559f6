// The YOLO loss on NumPy arrays.
#include <tuple>

#include "kernels/bindings/arrays.h"
#include "kernels/bindings/device_arrays.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

// Fills the outputs, all of them C-contiguous arrays whose dtypes fit (yolov1/kernels/ makes them);
// `gradient` may be None, and `mean` where the configuration asks for none. `targets`: an array, or
// the three of objects as boxes. `version`: one of YoloLossVersions(), or empty for the first.
void YoloLoss(const std::string& config, py::array predictions, py::object targets, py::array loss,
              py::array terms, py::object gradient, py::object mean, int64_t threads,
              const std::string& version) {
  YoloLossArgs args;
  Check(ParseYoloLossConfig(config, &args.config));
  args.images = predictions.shape(0);
  args.type = ToDType("yolo_loss", predictions);
  args.predictions = predictions.data();
  if (py::isinstance<py::tuple>(targets)) {
    const auto [boxes, labels, valid] = targets.cast<std::tuple<py::array, py::array, py::array>>();
    Check(CheckYoloLossBoxes(args.config, Sizes(predictions), Sizes(boxes), Sizes(labels),
                             Sizes(valid)));
    SetBoxes(labels.shape(1), boxes.data(), labels.data(), valid.data(), valid.ndim() == 2, &args);
  } else {
    const auto array = targets.cast<py::array>();
    Check(CheckYoloLossShapes(args.config, Sizes(predictions), Sizes(array)));
    args.target_type = ToDType("yolo_loss", array);
    args.targets = array.data();
  }
  args.loss = loss.mutable_data();
  args.terms = terms.mutable_data();
  if (!gradient.is_none()) args.gradient = gradient.cast<py::array>().mutable_data();
  const int number = FindVersion("yolo_loss", YoloLossVersions(), version);
  {
    py::gil_scoped_release release;
    // The same bits for any number of threads: each image is computed by itself.
    RunThreads(threads, args.images,
               [&](int64_t begin, int64_t end) { YoloLossCpu(args, begin, end, number); });
  }
  if (args.config.mean()) YoloLossMean(args, mean.cast<py::array>().mutable_data());
}

// The gradient [N, ...] times what comes from above, a scalar or [N], into `product`: arrays as
// YoloLossScaleArgs wants them. What the TensorFlow op does, for tests.
void YoloLossScale(py::array upstream, py::array gradient, py::array product,
                   const std::string& version) {
  YoloLossScaleArgs args;
  args.type = ToDType("yolo_loss", gradient);
  args.images = gradient.shape(0);
  args.size = args.images == 0 ? 0 : gradient.size() / args.images;
  args.scalar = upstream.ndim() == 0;
  args.upstream = upstream.data();
  args.gradient = gradient.data();
  args.product = product.mutable_data();
  YoloLossScaleCpu(args, 0, args.images, FindVersion("yolo_loss", YoloLossVersions(), version));
}

#ifdef YOLOV1_CUDA

// The same in device memory, queued on a cudaStream_t; `gradient` and `mean` may be null.
void YoloLossOnDevice(const std::string& config, const DeviceArray& predictions,
                      const DeviceArray& targets, const DeviceArray& loss, const DeviceArray& terms,
                      const DeviceArray* gradient, const DeviceArray* mean, uintptr_t stream,
                      const std::string& version) {
  YoloLossArgs args;
  Check(ParseYoloLossConfig(config, &args.config));
  Check(CheckYoloLossShapes(args.config, predictions.shape, targets.shape));
  args.images = predictions.shape[0];
  args.type = ToDType("yolo_loss", predictions.dtype);
  args.target_type = ToDType("yolo_loss", targets.dtype);
  args.predictions = predictions.data();
  args.targets = targets.data();
  args.loss = loss.data();
  args.terms = terms.data();
  if (gradient != nullptr) args.gradient = gradient->data();
  void* const to = mean == nullptr ? nullptr : mean->data();
  const int number = FindVersion("yolo_loss", YoloLossCudaVersions(), version);
  CheckLaunch([&] { return YoloLossCuda(args, to, reinterpret_cast<void*>(stream), number); });
}

#endif

}  // namespace

void BindYoloLoss(py::module_& module) {
  module.def("yolo_loss", &YoloLoss);
  module.def("yolo_loss_versions", &YoloLossVersions);
  module.def("yolo_loss_scale", &YoloLossScale);
#ifdef YOLOV1_CUDA
  module.def("yolo_loss_cuda", &YoloLossOnDevice);
  module.def("yolo_loss_cuda_versions", &YoloLossCudaVersions);
#endif
}

}  // namespace yolov1
