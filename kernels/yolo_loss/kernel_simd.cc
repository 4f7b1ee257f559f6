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

#include "kernels/yolo_loss/kernel.h"
#include "kernels/yolo_loss/lanes.h"
#include "kernels/yolo_loss/memory.h"

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

constexpr int64_t kMaxImages = 8;           // of a block: their boxes share groups
constexpr int64_t kBlockBytes = 48 * 1024;  // of a block's gradient, where it is kept back

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
  bool in_place;     // the gradient takes the place of the predictions
  bool streams_out;  // the gradient is kept back here and written past the caches
  // Memory that Lay() hands out.
  T* confidences = nullptr;           // [cells, B], of one image
  T* confidence_gradients = nullptr;  // [cells, B]
  int32_t* objects = nullptr;         // [cells]: the cells of an image that hold an object
  uint64_t* occupied = nullptr;       // [cells / 64]: a bit a cell, of objects that are boxes
  int32_t* owners = nullptr;          // [cells]: which box an occupied cell keeps
  U* one_hot = nullptr;               // [2 C + 1]: zeros, and a 1 in their middle
  T* saved = nullptr;             // [cells, D]: object cells, where predictions are written over
  Lanes<A>* activated = nullptr;  // [2, C]: the classes of a cell, and their slopes
  Lanes<A>* target = nullptr;     // [5]: the group's boxes x, y, w, h, and flags
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
    in_place = with_gradient && args.gradient == args.predictions;
    streams_out = this->large && with_gradient && !in_place;
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
    const bool boxes = args.targets == nullptr, raw = !args.activations.linear();
    take(&occupied, boxes ? grid.cells() / 64 + 1 : 0);
    take(&owners, boxes ? grid.cells() : 0);
    take(&one_hot, boxes ? 2 * grid.C + 1 : 0);
    take(&saved, in_place ? grid.flat_size() : 0);
    take(&activated, raw ? 2 * ClassParts<A>(grid.C) : 0);
    take(&target, 5);
    take(&group.values, 5 * grid.B);
    take(&group.gradients, 5 * grid.B);
    take(&group.slopes, raw ? 5 * grid.B : 0);
    take(&kept_back, streams_out ? images * grid.flat_size() : 0);
    group.B = grid.B;
    return used;
  }

  // Lanes of a group that is not full are computed too: of zeros, or of what was there before.
  YOLOV1_HOST_DEVICE void Prepare() {
    for (int k = 0; k < 5; ++k) target[k] = A(0);
    for (int64_t k = 0; k < 5 * args.grid.B; ++k) group.values[k] = A(0);
    if (args.targets != nullptr) return;
    for (int64_t k = 0; k <= 2 * args.grid.C; ++k) one_hot[k] = U(0);
    one_hot[args.grid.C] = U(1);
  }

  // Images [begin, begin + count), at most `images` of them.
  YOLOV1_HOST_DEVICE void Run(int64_t begin, int64_t count) {
    const int64_t size = args.grid.flat_size();
    T* gradient = nullptr;
    if (with_gradient) gradient = streams_out ? kept_back : args.gradient + begin * size;
    const int64_t target_size = args.grid.flat_target_size();
    for (int64_t k = 0; k < count; ++k) {
      const T* const predictions = args.predictions + (begin + k) * size;
      const U* targets = nullptr;
      if (args.targets) targets = args.targets + (begin + k) * target_size;
      if (large) {
        Prefetch(predictions + size, size * sizeof(T));
        if (targets) Prefetch(targets + target_size, target_size * sizeof(U));
      }
      Image(predictions, targets, begin + k, with_gradient ? gradient + k * size : nullptr, k);
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

  // Image k of the block, number `image` of the batch. `targets` is null where they are boxes.
  YOLOV1_HOST_DEVICE void Image(const T* predictions, const U* targets, int64_t image, T* gradient,
                                int64_t k) {
    const Grid& grid = args.grid;
    const int64_t found = targets
                              ? FindFlags(targets)
                              : FindBoxes(grid, args.on_collision, ImageBoxes(args.boxes, image),
                                          occupied, owners, objects);
    TakeConfidences(predictions);
    if (args.semantics.confidence_loss == Penalty::kCrossEntropy) {
      const bool linear = args.activations.confidences == Activation::kLinear;
      ClearConfidences(found, linear ? T(0) : T(-static_cast<A>(INFINITY)));
      no_object_sums[k] = ConfidenceEntropies<with_gradient>(
          grid.cells() * grid.B, args.activations.confidences, scale.gradient.no_object,
          confidences, confidence_gradients);
    } else if (args.activations.confidences == Activation::kLinear) {
      ClearConfidences(found, T(0));
      no_object_sums[k] = Confidences(
          [](const auto& value) { return Activated<std::decay_t<decltype(value)>>{value, A(1)}; });
    } else {
      no_object_sums[k] = ActivatedConfidences(found);
    }
    if (in_place) Save(predictions, found);
    if (with_gradient) SpreadGradient(gradient);
    sums[k] = {};
    class_sums[k] = A(0);
    for (int64_t i = 0; i < found; ++i) {
      const int64_t cell = objects[i];
      const Cell<const T> predicted = in_place ? Saved<const T>(i) : strides.At(predictions, cell);
      const Cell<T> by = with_gradient ? strides.At(gradient, cell) : Cell<T>{};
      if (targets) {
        const U* const row = targets + cell * grid.target_channels();
        Object(predicted, row, row + grid.target_box_channel(), row[grid.target_object_channel()],
               by, k);
      } else {
        const ObjectRow row(grid, ImageBoxes(args.boxes, image), owners[cell]);
        Object(predicted, one_hot + grid.C - row.label, row.box, row.flag, by, k);
      }
    }
  }

  // The confidences of cells that hold an object are not counted with the others.
  YOLOV1_HOST_DEVICE void ClearConfidences(int64_t found, T nothing) {
    const int64_t B = args.grid.B;
    for (int64_t i = 0; i < found; ++i)
      for (int64_t j = 0; j < B; ++j) confidences[objects[i] * B + j] = nothing;
  }

  // The squares of all confidences, in lanes, and the gradients to confidence_gradients.
  template <typename Activate>
  YOLOV1_HOST_DEVICE Lanes<A> Confidences(const Activate& activate) {
    const A factor = scale.gradient.no_object;
    return SumOf<4, A>(
        args.grid.cells() * args.grid.B,
        [&](int64_t c) __attribute__((always_inline)) {
          const Activated<Lanes<A>> confidence = activate(Load(confidences + c));
          if (with_gradient)
            Store(factor * confidence.value * confidence.slope, confidence_gradients + c);
          return confidence.value * confidence.value;
        },
        [&](int64_t c) __attribute__((always_inline)) {
          const Activated<A> confidence = activate(static_cast<A>(confidences[c]));
          if (with_gradient)
            confidence_gradients[c] = static_cast<T>(factor * confidence.value * confidence.slope);
          return confidence.value * confidence.value;
        });
  }

  __attribute__((noinline)) Lanes<A> ActivatedConfidences(int64_t found) {
    ClearConfidences(found, T(-static_cast<A>(INFINITY)));  // of which a sigmoid makes 0
    return Confidences([](const auto& raw) { return Sigmoid(raw); });
  }

  // Keeps what is read of object cells while their image's gradient is written over them.
  template <typename V>
  YOLOV1_HOST_DEVICE Cell<V> Saved(int64_t i) const {
    return CellStrides(args.grid, Layout::kCells).At<V>(saved, i);
  }
  YOLOV1_HOST_DEVICE void Save(const T* predictions, int64_t found) {
    const Grid& grid = args.grid;
    const auto copy = [](T* to, const T* from, int64_t count) __attribute__((always_inline)) {
      memcpy(static_cast<void*>(to), from, count * sizeof(T));
    };
    for (int64_t i = 0; i < found; ++i) {
      const Cell<const T> from = strides.At(predictions, objects[i]);
      const Cell<T> to = Saved<T>(i);
      copy(to.classes, from.classes, grid.C);
      copy(to.confidences, from.confidences, grid.B);
      copy(to.boxes, from.boxes, 4 * grid.B);
    }
  }

  // Calls function(B), with B a constant where it is the paper's: the compiler then has straight
  // code for it, and one load or store for a cell's confidences.
  template <typename Function>
  YOLOV1_HOST_DEVICE void WithBoxes(const Function& function) const {
    if (args.grid.B == 2) return function(std::integral_constant<int64_t, 2>());
    function(args.grid.B);
  }

  // Lists the cells that hold an object, by the bits of their flags (MarksObject), all but the
  // sign; returns how many there are.
  YOLOV1_HOST_DEVICE int64_t FindFlags(const U* targets) {
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
    return found;
  }

  // Brings the confidences together.
  YOLOV1_HOST_DEVICE void TakeConfidences(const T* predictions) {
    const T* from = strides.At(predictions, 0).confidences;
    WithBoxes([&](auto B) __attribute__((always_inline)) {
      T* to = confidences;
      for (int64_t cell = 0; cell < args.grid.cells(); ++cell, from += strides.confidences, to += B)
        memcpy(static_cast<void*>(to), from, B * sizeof(T));
    });
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
    return SumOf<1, A>(
        args.grid.C,
        [&](int64_t k) __attribute__((always_inline)) {
          const Lanes<A> value = Load(predicted + k) - Load(truth + k);
          if (with_gradient) Store(factor * value, gradient + k);
          return value * value;
        },
        [&](int64_t k) __attribute__((always_inline)) {
          const A value = static_cast<A>(predicted[k]) - static_cast<A>(truth[k]);
          if (with_gradient) gradient[k] = static_cast<T>(factor * value);
          return value * value;
        });
  }

  // `classes` [C], `box` x, y in the cell, w, h, and `flag` are the object's.
  template <typename V>
  YOLOV1_HOST_DEVICE void Object(const Cell<const T>& predicted, const U* classes, const V* box,
                                 V flag, const Cell<T>& gradient, int64_t image) {
    const Penalty penalty = args.semantics.class_loss;
    class_sums[image] +=
        args.activations.classes != Activation::kLinear
            ? ActivatedClasses<with_gradient>(args.grid.C, args.activations.classes, penalty,
                                              scale.gradient.classes, activated, predicted.classes,
                                              classes, gradient.classes)
        : penalty == Penalty::kSquared
            ? Classes(predicted.classes, classes, gradient.classes)
            : ClassEntropies<with_gradient>(args.grid.C, scale.gradient.classes, predicted.classes,
                                            classes, gradient.classes);
    // Value k of the cell goes to lane `members` of lanes k.
    const int64_t lane = members;
    A* to = reinterpret_cast<A*>(group.values) + lane;
    WithBoxes([&](auto B) __attribute__((always_inline)) {
      for (int64_t j = 0; j < B; ++j) to[j * kLanes] = static_cast<A>(predicted.confidences[j]);
      for (int64_t j = 0; j < 4 * B; ++j) to[(B + j) * kLanes] = static_cast<A>(predicted.boxes[j]);
    });
    to = reinterpret_cast<A*>(target) + lane;
    for (int k = 0; k < 4; ++k) to[k * kLanes] = static_cast<A>(box[k]);
    to[4 * kLanes] = static_cast<A>(flag);
    member[lane] = {gradient, image};
    members = lane + 1;
    if (lane + 1 == kLanes) FinishGroup();
  }

  // Computes the group's boxes, and gives every cell its own. Terms are added in the order of the
  // cells, one after another, whatever the groups.
  __attribute__((noinline)) void FinishGroup() {
    if (members == 0) return;
    const LossSemantics& semantics = args.semantics;
    const bool raw = !args.activations.linear();
    if (raw) ActivateGroup(args.activations, group);
    const Terms<Lanes<A>> sum =
        semantics.squares()
            ? GroupLoss<with_gradient, true>(args.grid, semantics, scale, group, target)
            : GroupLoss<with_gradient, false>(args.grid, semantics, scale, group, target);
    if (with_gradient && raw) ScaleBySlopes(args.activations, group);
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
