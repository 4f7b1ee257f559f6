// Non-maximum suppression on NumPy arrays and on arrays of a GPU.
#include <atomic>
#include <new>

#include "kernels/bindings/arrays.h"
#include "kernels/bindings/device_arrays.h"
#include "kernels/nms/kernel.h"

namespace yolov1 {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;  // others are cast

py::tuple Nms(const std::string& config, const Floats& boxes_xyxy, const Floats& scores,
              int64_t threads) {
  NmsArgs args;
  Check(ParseNmsConfig(config, &args.config));
  Check(CheckNmsShapes(Sizes(boxes_xyxy), Sizes(scores)));
  args.images = scores.shape(0);
  args.boxes = scores.shape(1);
  args.classes = scores.shape(2);
  args.boxes_xyxy = boxes_xyxy.data();
  args.scores = scores.data();
  const int64_t N = args.images, M = args.config.max_detections;
  Floats found_boxes({N, M, int64_t{4}}), found_scores({N, M});
  py::array_t<int32_t> labels({N, M}), count(N);
  args.found_boxes = found_boxes.mutable_data();
  args.found_scores = found_scores.mutable_data();
  args.labels = labels.mutable_data();
  args.count = count.mutable_data();
  std::atomic<bool> done{true};
  {
    py::gil_scoped_release release;
    RunThreads(threads, N, [&](int64_t begin, int64_t end) {
      if (!NmsCpu(args, begin, end)) done = false;
    });
  }
  if (!done) throw std::bad_alloc();  // a MemoryError
  return py::make_tuple(found_boxes, found_scores, labels, count);
}

#ifdef YOLOV1_CUDA

NmsArgs Read(const std::string& config, const DeviceArray& boxes_xyxy, const DeviceArray& scores) {
  NmsArgs args;
  Check(ParseNmsConfig(config, &args.config));
  Check(CheckNmsShapes(boxes_xyxy.shape, scores.shape));
  args.images = scores.shape[0];
  args.boxes = scores.shape[1];
  args.classes = scores.shape[2];
  args.boxes_xyxy = boxes_xyxy.data<float>();
  args.scores = scores.data<float>();
  return args;
}

int64_t WorkspaceOnDevice(const std::string& config, const DeviceArray& boxes_xyxy,
                          const DeviceArray& scores) {
  return NmsWorkspace(Read(config, boxes_xyxy, scores));
}

// All in device memory and of fitting dtypes and sizes (yolov1/kernels/ makes them), queued on a
// cudaStream_t.
void NmsOnDevice(const std::string& config, const DeviceArray& boxes_xyxy,
                 const DeviceArray& scores, const DeviceArray& found_boxes,
                 const DeviceArray& found_scores, const DeviceArray& labels,
                 const DeviceArray& count, const DeviceArray& workspace, uintptr_t stream) {
  NmsArgs args = Read(config, boxes_xyxy, scores);
  args.found_boxes = found_boxes.data<float>();
  args.found_scores = found_scores.data<float>();
  args.labels = labels.data<int32_t>();
  args.count = count.data<int32_t>();
  CheckLaunch([&] { return NmsCuda(args, workspace.data(), reinterpret_cast<void*>(stream)); });
}

#endif

}  // namespace

void BindNms(py::module_& module) {
  module.def("non_max_suppression", &Nms);
#ifdef YOLOV1_CUDA
  module.def("non_max_suppression_cuda", &NmsOnDevice);
  module.def("non_max_suppression_cuda_workspace", &WorkspaceOnDevice);
#endif
}

}  // namespace yolov1
