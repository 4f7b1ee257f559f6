// Non-maximum suppression on NumPy arrays.
#include <atomic>
#include <new>

#include "kernels/bindings/arrays.h"
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

}  // namespace

void BindNms(py::module_& module) { module.def("non_max_suppression", &Nms); }

}  // namespace yolov1
