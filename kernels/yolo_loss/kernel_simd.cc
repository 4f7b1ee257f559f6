// The fused YOLO loss on the CPU, in lanes. This file is compiled once for each level of SIMD, with
// YOLOV1_LEVEL naming it (CMakeLists.txt); kernel_cpu.cc picks one when the program runs. Nothing
// here may become a weak symbol, such as an instance of a standard template: the linker could take
// the AVX-512 copy for everyone. A test looks for them.
//
// Of most cells only the object flag and the confidences count. So an image is taken apart first:
// one pass over its cells, without a branch, lists those that hold an object and brings all
// confidences together, to be squared and scaled in lanes. Of the cells with an object the classes
// are computed cell by cell, since they lie side by side, and the boxes in groups of as many cells
// as there are lanes, across images, so that few objects fill the lanes as well as many do.
#include "kernels/yolo_loss/kernel_simd.h"

#include <stdlib.h>

#include <type_traits>

#include "kernels/core/simd.h"
#include "kernels/yolo_loss/kernel.h"
#include "kernels/yolo_loss/memory.h"

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

constexpr int64_t kMaxImages = 8;           // of a block: their boxes share groups
constexpr int64_t kBlockBytes = 48 * 1024;  // of a block's gradient, where it is kept back

// ------------------------------------------------------------------------------------- one stream

// Takes `one(k)`, which handles the lanes from place k on and returns their values, over all places
// of [0, count); returns the sums of the squares, of which there are `kSums`, so that additions
// need not wait for each other. Where lanes do not divide `count`, the last are taken once more,
// and not summed twice; `single(k)` takes one value where there are fewer than lanes.
template <int kSums, typename A, typename One, typename Single>
YOLOV1_HOST_DEVICE Lanes<A> SumSquares(int64_t count, const One& one, const Single& single) {
  constexpr int64_t kLanes = Lanes<A>::kCount;
  Lanes<A> sums[kSums] = {};
  int64_t k = 0;
  for (; k + kSums * kLanes <= count; k += kSums * kLanes) {
#pragma GCC unroll 4
    for (int part = 0; part < kSums; ++part) {
      const Lanes<A> value = one(k + part * kLanes);
      sums[part] += value * value;
    }
  }
  for (; kSums > 1 && k + kLanes <= count; k += kLanes) {
    const Lanes<A> value = one(k);
    sums[0] += value * value;
  }
  if (k < count && count >= kLanes) {
    const Lanes<A> value = FromLane(one(count - kLanes), kLanes - (count - k));
    sums[kSums - 1] += value * value;
  } else if (k < count) {
    A values[kLanes] = {};
    for (; k < count; ++k) values[k] = single(k);
    const Lanes<A> value = Load(values);
    sums[kSums - 1] += value * value;
  }
#pragma GCC unroll 4
  for (int part = 1; part < kSums; ++part) sums[0] += sums[part];
  return sums[0];
}

// ---------------------------------------------------------------------------------------- a group

// Boxes of up to as many object cells as there are lanes: value k of all cells side by side, a
// cell's confidences first, then its boxes, as in the `cells` layout.
template <typename A>
struct GroupView {
  int64_t B;
  Lanes<A>* values;     // [5 B]
  Lanes<A>* gradients;  // [5 B]

  YOLOV1_HOST_DEVICE Lanes<A> Confidence(int64_t j) const { return values[j]; }
  YOLOV1_HOST_DEVICE Lanes<A> Output(int64_t j, int k) const { return values[B + 4 * j + k]; }
  YOLOV1_HOST_DEVICE void SetConfidence(int64_t j, const Lanes<A>& value) const {
    gradients[j] = value;
  }
  YOLOV1_HOST_DEVICE void SetOutput(int64_t j, int k, const Lanes<A>& value) const {
    gradients[B + 4 * j + k] = value;
  }
};

// Not inlined: it is large, and the same for all dtypes of tensors. `target`: x, y, w, h, flag.
template <bool with_gradient, bool squared, typename A>
__attribute__((noinline)) Terms<Lanes<A>> GroupLoss(const Grid& grid,
                                                    const LossSemantics& semantics,
                                                    const LossScale<A>& scale,
                                                    const GroupView<A>& group,
                                                    const Lanes<A>* target) {
  Terms<Lanes<A>> sum = {};
  AddObjectBoxes<with_gradient, squared>(grid, semantics, scale, group,
                                         Box<Lanes<A>>{target[0], target[1], target[2], target[3]},
                                         &sum);
  sum.object += target[4] - target[4];  // a flag that is not finite: NaN
  return sum;
}

// A cell of the group: where its gradient goes, and to which image of the block its terms.
template <typename T>
struct Member {
  Cell<T> gradient;
  int64_t image;
};

// -------------------------------------------------------------------------------------- one block

template <bool with_gradient, typename Buffers>
struct Block {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  using A = typename Buffers::A;
  static constexpr int64_t kLanes = Lanes<A>::kCount;

  const Buffers& args;
  const CellStrides strides;
  const LossScale<A> scale;
  int64_t images;    // of a full block
  bool large;        // the batch does not stay in the caches
  bool streams_out;  // the gradient is kept back here and written past the caches
  // Memory that Lay() hands out.
  T* confidences = nullptr;           // [cells, B], of one image
  T* confidence_gradients = nullptr;  // [cells, B]
  int32_t* objects = nullptr;         // [cells]: the cells of an image that hold an object
  Lanes<A>* target = nullptr;         // [5]: the group's boxes x, y, w, h, and flags
  GroupView<A> group = {};
  T* kept_back = nullptr;  // [images, flat_size]
  // Of the block at hand.
  int64_t members = 0;
  Member<T> member[kLanes];
  Terms<A> sums[kMaxImages];
  Lanes<A> no_object_sums[kMaxImages], class_sums[kMaxImages];

  YOLOV1_HOST_DEVICE Block(const Buffers& args, bool large)
      : args(args), strides(args.grid, args.layout), scale(args.semantics, args.upstream) {
    images = kBlockBytes / (args.grid.flat_size() * static_cast<int64_t>(sizeof(T)));
    // An image that alone is larger than a block is neither asked for ahead nor kept back.
    this->large = large && images > 0;
    streams_out = this->large && with_gradient;
    images = images < 1 ? 1 : images > kMaxImages ? kMaxImages : images;
  }

  // Hands out the memory that starts at `memory`; returns how much that is. Null: only counts.
  YOLOV1_HOST_DEVICE int64_t Lay(char* memory) {
    const Grid& grid = args.grid;
    int64_t used = 0;
    const auto take = [&](auto** place, int64_t count) __attribute__((always_inline)) {
      if (memory)  // nothing may be added to a null pointer
        *place = reinterpret_cast<std::remove_reference_t<decltype(*place)>>(memory + used);
      used += RoundUp(count * sizeof(**place));
    };
    take(&confidences, grid.cells() * grid.B);
    take(&confidence_gradients, grid.cells() * grid.B);
    take(&objects, grid.cells());
    take(&target, 5);
    take(&group.values, 5 * grid.B);
    take(&group.gradients, 5 * grid.B);
    take(&kept_back, streams_out ? images * grid.flat_size() : 0);
    group.B = grid.B;
    return used;
  }

  // Lanes of a group that is not full are computed too: of zeros, or of what was there before.
  YOLOV1_HOST_DEVICE void Prepare() {
    for (int k = 0; k < 5; ++k) target[k] = A(0);
    for (int64_t k = 0; k < 5 * args.grid.B; ++k) group.values[k] = A(0);
  }

  // Images [begin, begin + count), at most `images` of them.
  YOLOV1_HOST_DEVICE void Run(int64_t begin, int64_t count) {
    const int64_t size = args.grid.flat_size();
    T* gradient = nullptr;
    if (with_gradient) gradient = streams_out ? kept_back : args.gradient + begin * size;
    const int64_t target_size = args.grid.flat_target_size();
    for (int64_t k = 0; k < count; ++k) {
      const T* const predictions = args.predictions + (begin + k) * size;
      const U* const targets = args.targets + (begin + k) * target_size;
      if (large) {
        Prefetch(predictions + size, size * sizeof(T));
        Prefetch(targets + target_size, target_size * sizeof(U));
      }
      Image(predictions, targets, with_gradient ? gradient + k * size : nullptr, k);
    }
    FinishGroup();
    for (int64_t k = 0; k < count; ++k) {
      sums[k].no_object += SumLanes(no_object_sums[k]);
      sums[k].classes = SumLanes(class_sums[k]);
      WriteTerms(scale, sums[k], args.terms + (begin + k) * kTerms, args.loss + begin + k);
    }
    if (with_gradient && streams_out)
      StreamOut(reinterpret_cast<const char*>(gradient), count * size * sizeof(T),
                reinterpret_cast<char*>(args.gradient + begin * size));
  }

  YOLOV1_HOST_DEVICE void Image(const T* predictions, const U* targets, T* gradient, int64_t k) {
    const int64_t found = TakeApart(predictions, targets);
    const Grid& grid = args.grid;
    for (int64_t i = 0; i < found; ++i)
      for (int64_t j = 0; j < grid.B; ++j) confidences[objects[i] * grid.B + j] = T(0);
    const A factor = scale.gradient.no_object;
    no_object_sums[k] = SumSquares<4, A>(
        grid.cells() * grid.B,
        [&](int64_t c) __attribute__((always_inline)) {
          const Lanes<A> value = Load(confidences + c);
          if (with_gradient) Store(factor * value, confidence_gradients + c);
          return value;
        },
        [&](int64_t c) __attribute__((always_inline)) {
          const A value = static_cast<A>(confidences[c]);
          if (with_gradient) confidence_gradients[c] = static_cast<T>(factor * value);
          return value;
        });
    if (with_gradient) SpreadGradient(gradient);
    sums[k] = {};
    class_sums[k] = A(0);
    for (int64_t i = 0; i < found; ++i)
      Object(strides.At(predictions, objects[i]), targets + objects[i] * grid.target_channels(),
             with_gradient ? strides.At(gradient, objects[i]) : Cell<T>{}, k);
  }

  // Calls function(B), with B a constant where it is the paper's: the compiler then has straight
  // code for it, and one load or store for a cell's confidences.
  template <typename Function>
  YOLOV1_HOST_DEVICE void WithBoxes(const Function& function) const {
    if (args.grid.B == 2) return function(std::integral_constant<int64_t, 2>());
    function(args.grid.B);
  }

  // Lists the cells that hold an object, by the bits of their flags (MarksObject), all but the
  // sign; returns how many there are. Brings the confidences together.
  YOLOV1_HOST_DEVICE int64_t TakeApart(const T* predictions, const U* targets) {
    using Word = std::conditional_t<sizeof(U) == 8, uint64_t,
                                    std::conditional_t<sizeof(U) == 4, uint32_t, uint16_t>>;
    // The smallest number that A takes for none that is subnormal.
    constexpr Word kLeast =
        std::is_same_v<U, Half> ? 1 : Word{1} << (sizeof(U) == 8 ? 52 : 8 * sizeof(U) - 9);
    const Grid& grid = args.grid;
    const int64_t cells = grid.cells();
    const U* flag = targets + grid.target_object_channel();
    int64_t found = 0;
    for (int64_t cell = 0; cell < cells; ++cell, flag += grid.target_channels()) {
      objects[found] = static_cast<int32_t>(cell);
      found += static_cast<Word>(BitCast<Word>(*flag) << 1) >= 2 * kLeast;
    }
    const T* from = strides.At(predictions, 0).confidences;
    WithBoxes([&](auto B) __attribute__((always_inline)) {
      T* to = confidences;
      for (int64_t cell = 0; cell < cells; ++cell, from += strides.confidences, to += B)
        memcpy(static_cast<void*>(to), from, B * sizeof(T));
    });
    return found;
  }

  // The confidences' gradient to its cells, and zeros to all else.
  YOLOV1_HOST_DEVICE void SpreadGradient(T* gradient) {
    memset(static_cast<void*>(gradient), 0, args.grid.flat_size() * sizeof(T));
    T* to = strides.At(gradient, 0).confidences;
    WithBoxes([&](auto B) __attribute__((always_inline)) {
      const T* from = confidence_gradients;
      for (int64_t cell = 0; cell < args.grid.cells(); ++cell, from += B, to += strides.confidences)
        memcpy(static_cast<void*>(to), from, B * sizeof(T));
    });
  }

  YOLOV1_HOST_DEVICE Lanes<A> Classes(const T* predicted, const U* truth, T* gradient) {
    const A factor = scale.gradient.classes;
    return SumSquares<1, A>(
        args.grid.C,
        [&](int64_t k) __attribute__((always_inline)) {
          const Lanes<A> value = Load(predicted + k) - Load(truth + k);
          if (with_gradient) Store(factor * value, gradient + k);
          return value;
        },
        [&](int64_t k) __attribute__((always_inline)) {
          const A value = static_cast<A>(predicted[k]) - static_cast<A>(truth[k]);
          if (with_gradient) gradient[k] = static_cast<T>(factor * value);
          return value;
        });
  }

  YOLOV1_HOST_DEVICE void Object(const Cell<const T>& predicted, const U* cell_target,
                                 const Cell<T>& gradient, int64_t image) {
    class_sums[image] += Classes(predicted.classes, cell_target, gradient.classes);
    // Value k of the cell goes to lane `members` of lanes k.
    const int64_t lane = members;
    A* to = reinterpret_cast<A*>(group.values) + lane;
    WithBoxes([&](auto B) __attribute__((always_inline)) {
      for (int64_t j = 0; j < B; ++j) to[j * kLanes] = static_cast<A>(predicted.confidences[j]);
      for (int64_t j = 0; j < 4 * B; ++j) to[(B + j) * kLanes] = static_cast<A>(predicted.boxes[j]);
    });
    const U* box = cell_target + args.grid.target_box_channel();
    to = reinterpret_cast<A*>(target) + lane;
    for (int k = 0; k < 4; ++k) to[k * kLanes] = static_cast<A>(box[k]);
    to[4 * kLanes] = static_cast<A>(cell_target[args.grid.target_object_channel()]);
    member[lane] = {gradient, image};
    members = lane + 1;
    if (lane + 1 == kLanes) FinishGroup();
  }

  // Computes the group's boxes, and gives every cell its own. Terms are added in the order of the
  // cells, one after another, whatever the groups.
  __attribute__((noinline)) void FinishGroup() {
    if (members == 0) return;
    const LossSemantics& semantics = args.semantics;
    const Terms<Lanes<A>> sum =
        semantics.box == BoxTerm::kSquared
            ? GroupLoss<with_gradient, true>(args.grid, semantics, scale, group, target)
            : GroupLoss<with_gradient, false>(args.grid, semantics, scale, group, target);
    const auto at = [](const Lanes<A>& lanes, int64_t lane) __attribute__((always_inline)) {
      return reinterpret_cast<const A*>(&lanes)[lane];
    };
    for (int64_t lane = 0; lane < members; ++lane) {
      Terms<A>& image = sums[member[lane].image];
      image.xy += at(sum.xy, lane);
      image.wh += at(sum.wh, lane);
      image.object += at(sum.object, lane);
      image.no_object += at(sum.no_object, lane);
      if (!with_gradient) continue;
      const A* from = reinterpret_cast<const A*>(group.gradients) + lane;
      const Cell<T> to = member[lane].gradient;
      WithBoxes([&](auto B) __attribute__((always_inline)) {
        for (int64_t j = 0; j < B; ++j) to.confidences[j] = static_cast<T>(from[j * kLanes]);
        for (int64_t j = 0; j < 4 * B; ++j) to.boxes[j] = static_cast<T>(from[(B + j) * kLanes]);
      });
    }
    members = 0;
  }
};

// Not inlined: one function for all dtypes takes compilers minutes.
template <bool with_gradient, typename Buffers>
__attribute__((noinline)) bool Images(const Buffers& args, int64_t begin, int64_t end, bool large) {
  Block<with_gradient, Buffers> block(args, large);
  void* const memory = aligned_alloc(kLine, block.Lay(nullptr));
  if (memory == nullptr) return false;
  block.Lay(static_cast<char*>(memory));
  block.Prepare();
  for (int64_t image = begin; image < end; image += block.images)
    block.Run(image, end - image < block.images ? end - image : block.images);
#if defined(__SSE2__)
  if (block.streams_out) _mm_sfence();  // other threads may read it now
#endif
  free(memory);
  return true;
}

bool Loss(const YoloLossArgs& args, int64_t begin, int64_t end, bool large) {
  bool done = false;
  WithTypes(args, [&](const auto& buffers) __attribute__((always_inline)) {
    done = buffers.gradient != nullptr ? Images<true>(buffers, begin, end, large)
                                       : Images<false>(buffers, begin, end, large);
  });
  return done;
}

// ------------------------------------------------------------------------------ gradient times
// upstream

template <typename T>
__attribute__((noinline)) void ScaleRow(const T* from, typename Sum<T>::Type factor, int64_t count,
                                        T* to) {
  using A = typename Sum<T>::Type;
  constexpr int64_t kLanes = Lanes<A>::kCount;
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) Store(factor * Load(from + k), to + k);
  if (k < count) StoreFirst(factor * LoadFirst(from + k, count - k), to + k, count - k);
}

void Scale(const YoloLossScaleArgs& args, int64_t begin, int64_t end) {
  WithType(args.type, [&](auto type) __attribute__((always_inline)) {
    using T = decltype(type);
    const T* const from = static_cast<const T*>(args.gradient);
    const auto* const upstream = static_cast<const typename Sum<T>::Type*>(args.upstream);
    T* const to = static_cast<T*>(args.product);
    const int64_t rows = args.scalar ? 1 : end - begin, size = (end - begin) * args.size / rows;
    for (int64_t row = 0, first = begin * args.size; row < rows; ++row, first += size)
      ScaleRow(from + first, upstream[args.scalar ? 0 : begin + row], size, to + first);
  });
}

}  // namespace

const YoloLossLevel kYoloLoss = {Loss, Scale};

}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
