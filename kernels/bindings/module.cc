// The framework-free kernels on NumPy arrays: the extension module behind yolov1/kernels.py, which
// checks and makes the arrays that this module takes.
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
#include "kernels/ffi_targets.h"
#include "kernels/yolo_loss/kernel.h"

namespace py = pybind11;

namespace yolov1 {
namespace {

DType ToDType(const std::string& name) {
  for (auto [known, type] : {std::pair{"float32", DType::kFloat},
                             {"float64", DType::kDouble},
                             {"float16", DType::kHalf},
                             {"bfloat16", DType::kBfloat16}})
    if (name == known) return type;
  throw py::type_error("yolo_loss: unknown dtype " + name);
}

// The same bits for any number of threads: each image is computed by itself.
void RunThreads(const YoloLossArgs& args, int64_t threads, int version) {
  constexpr int64_t kMostThreads = 256;  // one that cannot be made would end the process
  threads = std::max<int64_t>(1, std::min({threads, args.images, kMostThreads}));
  const auto bound = [&](int64_t k) { return args.images * k / threads; };
  std::vector<std::thread> pool;
  for (int64_t k = 1; k < threads; ++k)
    pool.emplace_back([&, k] { YoloLossCpu(args, bound(k), bound(k + 1), version); });
  YoloLossCpu(args, 0, bound(1), version);
  for (auto& thread : pool) thread.join();
}

// Fills the outputs, all of them C-contiguous arrays whose dtypes fit (yolov1/kernels.py makes
// them); `gradient` may be None, and `mean` where the configuration asks for none. `version`: one
// of YoloLossVersions(), or empty for the first.
void YoloLoss(const std::string& config, py::array predictions, py::array targets, py::array loss,
              py::array terms, py::object gradient, py::object mean, int64_t threads,
              const std::string& version) {
  YoloLossArgs args;
  const auto check = [](const std::string& error) {
    if (!error.empty()) throw py::value_error(error);
  };
  const auto sizes = [](const py::array& array) {
    return std::vector<int64_t>(array.shape(), array.shape() + array.ndim());
  };
  const auto name = [](const py::array& array) {
    return py::str(array.dtype().attr("name")).cast<std::string>();
  };
  check(ParseYoloLossConfig(config, &args.config));
  check(CheckYoloLossShapes(args.config, sizes(predictions), sizes(targets)));
  args.images = predictions.shape(0);
  args.type = ToDType(name(predictions));
  args.target_type = ToDType(name(targets));
  args.predictions = predictions.data();
  args.targets = targets.data();
  args.loss = loss.mutable_data();
  args.terms = terms.mutable_data();
  if (!gradient.is_none()) args.gradient = gradient.cast<py::array>().mutable_data();
  const std::vector<std::string> versions = YoloLossVersions();
  const auto found = std::find(versions.begin(), versions.end(), version);
  if (!version.empty() && found == versions.end())
    throw py::value_error("yolo_loss: this processor has no kernel version " + version);
  const int number = version.empty() ? 0 : static_cast<int>(found - versions.begin());
  {
    py::gil_scoped_release release;
    RunThreads(args, threads, number);
  }
  if (args.config.mean()) YoloLossMean(args, mean.cast<py::array>().mutable_data());
}

// (name, platform, handler) of what XLA can call, in the capsules that JAX takes.
py::list Targets() {
  py::list targets;
  for (const FfiTarget& target : FfiTargets())
    targets.append(py::make_tuple(target.name, target.platform,
                                  py::capsule(target.handler, "xla._CUSTOM_CALL_TARGET")));
  return targets;
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
  module.def("ffi_targets", &yolov1::Targets);
  module.def("geometry", &yolov1::Geometry);
  module.def("yolo_loss", &yolov1::YoloLoss);
  module.def("yolo_loss_versions", &yolov1::YoloLossVersions);
}
