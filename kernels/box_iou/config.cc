// The text that configures the ops, and how the shapes of their inputs fit.
#include "kernels/config.h"

#include <algorithm>
#include <utility>

#include "kernels/box_iou/kernel.h"

namespace yolov1 {
namespace {

using Shape = std::vector<int64_t>;

// The dimensions of boxes that are not leading ones: [M, 4], or [4].
size_t InnerRank(const BoxIouConfig& config) { return config.shape == IouShape::kPairwise ? 2 : 1; }

// What is wrong with the shapes of one side, 'a' or 'b', by themselves.
std::string CheckSide(const BoxIouConfig& config, char side, const Shape& boxes,
                      const Shape& valid) {
  const std::string start = std::string(config.name()) + ": ";
  if (boxes.size() < InnerRank(config) || boxes.back() != 4) {
    const char* boxes_count = side == 'a' ? "M, " : "K, ";
    return start + "boxes_" + side + " must be [..., " +
           (config.shape == IouShape::kPairwise ? boxes_count : "") + "4], got " +
           ShapeText(boxes) + ".";
  }
  const bool none = valid.size() == 1 && valid[0] == 0;
  if (!none && !std::equal(valid.begin(), valid.end(), boxes.begin(), boxes.end() - 1))
    return start + "valid_" + side + " must be " + ShapeText({boxes.begin(), boxes.end() - 1}) +
           " for boxes_" + side + " " + ShapeText(boxes) + ", got " + ShapeText(valid) + ".";
  return "";
}

// Sets N, count_a, count_b and batch of `sizes`, and `leading`, the broadcast shape. Returns "",
// or what is wrong with the shapes.
std::string BroadcastLeading(Shape a, Shape b, BoxIouSizes* sizes, Shape* leading) {
  const size_t rank = std::max(a.size(), b.size());
  a.insert(a.begin(), rank - a.size(), 1);
  b.insert(b.begin(), rank - b.size(), 1);
  leading->assign(rank, 1);
  Broadcast& batch = sizes->batch;
  sizes->N = sizes->count_a = sizes->count_b = 1;
  for (size_t k = rank; k-- > 0;) {
    if (a[k] != b[k] && a[k] != 1 && b[k] != 1)
      return "the leading dimensions of boxes_a and boxes_b must be equal or 1 (they are "
             "broadcast)";
    const int64_t size = (*leading)[k] = a[k] == 1 ? b[k] : a[k];
    const int64_t strides[] = {a[k] == 1 ? 0 : sizes->count_a, b[k] == 1 ? 0 : sizes->count_b};
    if (__builtin_mul_overflow(sizes->N, size, &sizes->N) ||
        __builtin_mul_overflow(sizes->count_a, a[k], &sizes->count_a) ||
        __builtin_mul_overflow(sizes->count_b, b[k], &sizes->count_b))
      return "the result must have less than 2^63 elements";
    if (size == 1 || sizes->N == 0) continue;  // nothing to walk through
    const int last = batch.rank - 1;
    if (last >= 0 && strides[0] == batch.sizes[last] * batch.strides[0][last] &&
        strides[1] == batch.sizes[last] * batch.strides[1][last]) {
      batch.sizes[last] *= size;
      continue;
    }
    if (batch.rank == Broadcast::kMaxRank)
      return "at most " + std::to_string(Broadcast::kMaxRank) +
             " leading dimensions of boxes_a and boxes_b may be broadcast in turn (repeat one side "
             "beforehand)";
    batch.sizes[batch.rank] = size;
    for (int side : {0, 1}) batch.strides[side][batch.rank] = strides[side];
    ++batch.rank;
  }
  return "";
}

}  // namespace

std::string ParseBoxIouConfig(std::string_view text, BoxIouConfig* config) {
  ConfigReader reader = {config->name(), text};
  reader.Choose("kind", {"iou", "giou", "diou", "ciou"}, &config->kind);
  reader.Choose("box_format", {"xyxy", "cxcywh"}, &config->format);
  return reader.error;
}

// Every call comes through here: text is made only where there is something to say.
std::string ReadBoxIouShapes(const BoxIouConfig& config, const Shape& boxes_a, const Shape& boxes_b,
                             const Shape& valid_a, const Shape& valid_b, BoxIouSizes* sizes,
                             Shape* result) {
  std::string error = CheckSide(config, 'a', boxes_a, valid_a);
  if (error.empty()) error = CheckSide(config, 'b', boxes_b, valid_b);
  if (!error.empty()) return error;

  *sizes = {};
  Shape leading;
  const auto inner = static_cast<std::ptrdiff_t>(InnerRank(config));
  error = BroadcastLeading({boxes_a.begin(), boxes_a.end() - inner},
                           {boxes_b.begin(), boxes_b.end() - inner}, sizes, &leading);
  if (config.shape == IouShape::kPairwise) {
    sizes->M = boxes_a.end()[-2];
    sizes->K = boxes_b.end()[-2];
    leading.insert(leading.end(), {sizes->M, sizes->K});
  }
  int64_t pairs = 0;
  if (error.empty() && (__builtin_mul_overflow(sizes->N, sizes->M, &pairs) ||
                        __builtin_mul_overflow(pairs, sizes->K, &pairs)))
    error = "the result must have less than 2^63 elements";
  if (!error.empty())
    return std::string(config.name()) + ": " + error + ", got " + ShapeText(boxes_a) + " and " +
           ShapeText(boxes_b) + ".";
  if (result != nullptr) *result = std::move(leading);
  return "";
}

std::string CheckBoxIouUpstream(const BoxIouConfig& config, const Shape& result,
                                const Shape& upstream) {
  if (upstream == result) return "";
  return std::string(config.name()) + ": the upstream gradient must be like the result, " +
         ShapeText(result) + ", got " + ShapeText(upstream) + ".";
}

}  // namespace yolov1
