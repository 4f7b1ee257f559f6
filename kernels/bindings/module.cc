// The framework-free kernels on NumPy arrays: the extension module behind yolov1/kernels.py, which
// checks shapes and turns names into the numbers that this module takes.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "build_info.h"
#include "kernels/yolo_loss/kernel.h"

namespace py = pybind11;

namespace yolov1 {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

// The same bits for any number of threads: each image is computed by itself.
template <typename T>
void RunThreads(const YoloLossArgs<T>& args, int64_t images, int64_t threads) {
  threads = std::max<int64_t>(1, std::min(threads, images));
  std::vector<std::thread> pool;
  for (int64_t k = 1; k < threads; ++k) {
    pool.emplace_back([&args, images, threads, k] {
      YoloLossCpu(args, images * k / threads, images * (k + 1) / threads);
    });
  }
  YoloLossCpu(args, 0, images / threads);
  for (auto& thread : pool) thread.join();
}

// Returns (loss [N], terms [N, 5], gradient like predictions, or None).
template <typename T>
py::tuple YoloLoss(Array<T> predictions, Array<T> targets, std::array<int64_t, 3> grid, int layout,
                   std::array<double, 6> weights, std::array<int, 6> choices, bool with_gradient,
                   int64_t threads) {
  const int64_t images = predictions.shape(0);
  Array<T> loss(images), terms({images, int64_t{kTerms}}), gradient;
  YoloLossArgs<T> args = {};
  args.grid = {grid[0], grid[1], grid[2]};
  args.layout = static_cast<Layout>(layout);
  args.semantics = {weights[0],
                    weights[1],
                    weights[2],
                    weights[3],
                    weights[4],
                    weights[5],
                    static_cast<Wh>(choices[0]),
                    static_cast<ConfidenceTarget>(choices[1]),
                    static_cast<NoObject>(choices[2]),
                    static_cast<Ties>(choices[3]),
                    static_cast<NoOverlapFallback>(choices[4]),
                    static_cast<IouOverlap>(choices[5])};
  args.upstream = 1;
  args.predictions = predictions.data();
  args.targets = targets.data();
  args.loss = loss.mutable_data();
  args.terms = terms.mutable_data();
  if (with_gradient) {
    gradient = Array<T>(
        std::vector<py::ssize_t>(predictions.shape(), predictions.shape() + predictions.ndim()));
    args.gradient = gradient.mutable_data();
  }
  {
    py::gil_scoped_release release;
    RunThreads(args, images, threads);
  }
  return py::make_tuple(loss, terms, with_gradient ? py::object(gradient) : py::none());
}

// A grid's numbers as the C++ side sees them, for the test that holds grid.h against grid.py.
py::dict Geometry(std::array<int64_t, 3> numbers) {
  const Grid grid = {numbers[0], numbers[1], numbers[2]};
  const std::vector<char> image(grid.flat_size());
  py::dict out;
  out["cells"] = grid.cells();
  out["channels"] = grid.channels();
  out["target_channels"] = grid.target_channels();
  out["flat_size"] = grid.flat_size();
  out["target_object_channel"] = grid.target_object_channel();
  out["target_box_channel"] = grid.target_box_channel();
  for (const auto& [name, layout] : {std::pair{"last_cell_in_cells", Layout::kCells},
                                     std::pair{"last_cell_in_planes", Layout::kPlanes}}) {
    const auto cell = CellStrides(grid, layout).At(image.data(), grid.cells() - 1);
    out[name] = py::make_tuple(cell.classes - image.data(), cell.confidences - image.data(),
                               cell.boxes - image.data());
  }
  return out;
}

}  // namespace
}  // namespace yolov1

PYBIND11_MODULE(_kernels, module) {
  module.doc() = "Framework-free kernels; use yolov1.kernels.";
  module.def("build_info", [] { return std::string(kBuildInfo); });
  module.def("geometry", &yolov1::Geometry);
  module.def("yolo_loss", &yolov1::YoloLoss<float>);
  module.def("yolo_loss", &yolov1::YoloLoss<double>);
}
