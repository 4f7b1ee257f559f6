// The framework-free kernels on NumPy arrays: the extension module behind yolov1/kernels/, which
// checks and makes the arrays that this module takes.
#include <array>

#include "build_info.h"
#include "kernels/bindings/arrays.h"
#include "kernels/bindings/device_arrays.h"
#include "kernels/caches.h"
#include "kernels/core/grid.h"
#include "kernels/ffi_targets.h"

namespace yolov1 {
namespace {

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
  module.def("streaming_bound", [] { return yolov1::StreamingBound().load(); });
  module.def("set_streaming_bound", [](int64_t bytes) { yolov1::StreamingBound() = bytes; });
  yolov1::BindDeviceArrays(module);
  yolov1::BindCalls(module);
}
