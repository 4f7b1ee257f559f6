// DLPack, as https://dmlc.github.io/dlpack lays it out in memory.
#include "kernels/bindings/device_arrays.h"

#include <iterator>
#include <type_traits>

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
struct ManagedTensor {  // in a capsule "dltensor"
  Tensor tensor;
  void* owner;
  void (*deleter)(ManagedTensor*);
};
struct VersionedTensor {  // in a capsule "dltensor_versioned"
  uint32_t major, minor;
  void* owner;
  void (*deleter)(VersionedTensor*);
  uint64_t flags;  // the first bit: read-only
  Tensor tensor;
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
  for (int k = 0; k < tensor.rank; ++k)
    if (tensor.shape[k] == 0) return true;  // whatever its strides are
  for (int k = tensor.rank; tensor.strides != nullptr && k-- > 0;) {
    if (tensor.shape[k] != 1 && tensor.strides[k] != step) return false;
    step *= tensor.shape[k];
  }
  return true;
}

// What `managed` tells, which is given back.
template <typename Managed>
DeviceArray Take(Managed* managed) {
  const Tensor& tensor = managed->tensor;
  DeviceArray array;
  array.pointer = reinterpret_cast<uintptr_t>(tensor.data) + tensor.offset;
  array.shape.assign(tensor.shape, tensor.shape + tensor.rank);
  array.dtype = NameOf(tensor.type);
  array.device = tensor.place.number;
  if constexpr (std::is_same_v<Managed, VersionedTensor>) array.read_only = managed->flags & 1;
  const bool contiguous = Contiguous(tensor), here = tensor.place.kind == kWanted;
  if (managed->deleter != nullptr) managed->deleter(managed);
  if (!here) throw py::type_error("must be in the memory of a CUDA device");
  if (!contiguous) throw py::value_error("must be contiguous in C order; copy it first");
  return array;
}

}  // namespace

DeviceArray FromDlpack(const py::capsule& capsule) {
  const auto use = [&](const char* name, const char* used) {
    void* const managed = PyCapsule_GetPointer(capsule.ptr(), name);
    if (managed == nullptr) throw py::error_already_set();
    PyCapsule_SetName(capsule.ptr(), used);
    return managed;
  };
  if (!PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned"))
    return Take(static_cast<ManagedTensor*>(use("dltensor", "used_dltensor")));
  auto* const managed =
      static_cast<VersionedTensor*>(use("dltensor_versioned", "used_dltensor_versioned"));
  if (managed->major == 1) return Take(managed);
  if (managed->deleter != nullptr) managed->deleter(managed);  // all else may lie elsewhere
  throw py::value_error("must come by a DLPack of version 1");
}

void BindDeviceArrays(py::module_& module) {
  py::class_<DeviceArray>(module, "DeviceArray", py::module_local())
      .def(py::init(
          [](uintptr_t pointer, std::vector<int64_t> shape, std::string dtype, bool read_only) {
            return DeviceArray{pointer, std::move(shape), std::move(dtype), -1, read_only};
          }))
      .def_readonly("pointer", &DeviceArray::pointer)
      .def_readonly("read_only", &DeviceArray::read_only)
      .def_readonly("shape", &DeviceArray::shape)
      .def_readwrite("dtype", &DeviceArray::dtype)
      .def_readonly("device", &DeviceArray::device);
  module.def("from_dlpack", &FromDlpack);
}

}  // namespace yolov1
