// DLPack, as https://dmlc.github.io/dlpack lays it out in memory.
#include "kernels/bindings/device_arrays.h"

#include <stdexcept>

namespace yolov1 {
namespace {

struct Place {
  int32_t kind, number;
};
struct ElementType {
  uint8_t kind, bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Place place;
  int32_t rank;
  ElementType type;
  int64_t* shape;
  int64_t* strides;  // in elements; null: contiguous
  uint64_t offset;   // in bytes
};
struct ManagedTensor {
  Tensor tensor;
  void* owner;
  void (*deleter)(ManagedTensor*);
};

#ifdef YOLOV1_CUDA_ON_HOST
constexpr int32_t kWanted = 1;  // the host's memory stands for a device's
#else
constexpr int32_t kWanted = 2;  // CUDA
#endif

std::string NameOf(const ElementType& type) {
  static const char* const kKinds[] = {"int", "uint", "float", "void", "bfloat", "complex", "bool"};
  if (type.lanes != 1 || type.kind >= std::size(kKinds)) return "one of several lanes";
  if (type.kind == 6) return "bool";
  return kKinds[type.kind] + std::to_string(type.bits);
}

bool Contiguous(const Tensor& tensor) {
  int64_t step = 1;
  for (int k = tensor.rank; tensor.strides != nullptr && k-- > 0;) {
    if (tensor.shape[k] == 0) return true;
    if (tensor.shape[k] != 1 && tensor.strides[k] != step) return false;
    step *= tensor.shape[k];
  }
  return true;
}

}  // namespace

DeviceArray FromDlpack(const py::capsule& capsule) {
  auto* const managed =
      static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  const Tensor& tensor = managed->tensor;
  DeviceArray array;
  array.pointer = reinterpret_cast<uintptr_t>(tensor.data) + tensor.offset;
  array.shape.assign(tensor.shape, tensor.shape + tensor.rank);
  array.dtype = NameOf(tensor.type);
  array.device = tensor.place.number;
  const bool contiguous = Contiguous(tensor), here = tensor.place.kind == kWanted;
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  if (managed->deleter != nullptr) managed->deleter(managed);
  if (!here) throw py::type_error("must be in the memory of a CUDA device");
  if (!contiguous) throw py::value_error("must be contiguous in C order; copy it first");
  return array;
}

void BindDeviceArrays(py::module_& module) {
  py::class_<DeviceArray>(module, "DeviceArray")
      .def(py::init(
          [](uintptr_t pointer, std::vector<int64_t> shape, std::string dtype, int device) {
            return DeviceArray{pointer, std::move(shape), std::move(dtype), device};
          }))
      .def_readonly("shape", &DeviceArray::shape)
      .def_readonly("dtype", &DeviceArray::dtype)
      .def_readonly("device", &DeviceArray::device);
  module.def("from_dlpack", &FromDlpack);
}

}  // namespace yolov1
