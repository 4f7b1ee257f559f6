// A fuzz target for batched IoU, as fuzz_yolo_loss.cc is for the loss: bytes to a configuration
// text, to shapes, or to a call of the kernels.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/ops.h"
#include "tests/native/box_iou_call.h"
#include "tests/native/bytes.h"

namespace yolov1 {
namespace {

using Shape = std::vector<int64_t>;

// ------------------------------------------------------------------------------ configuration text

std::string ConfigText(Bytes* in) {
  static const char* const kKinds[] = {"iou", "giou", "diou", "ciou"};
  static const char* const kFormats[] = {"xyxy", "cxcywh"};
  return std::string("kind=") + kKinds[in->Below(4)] + " box_format=" + kFormats[in->Below(2)];
}

void CheckText(std::string_view text) {
  BoxIouConfig config;
  Accepts(ParseBoxIouConfig, "pairwise_iou", text, &config);
  Require(config.kind <= IouKind::kCiou && config.format <= BoxFormat::kCxcywh, "known choices");
}

// ----------------------------------------------------------------------------------------- shapes

struct Shapes {
  Shape boxes[2], valid[2], result;
};

// Numbers of boxes around those at which tiles are full, and lanes.
int64_t AroundTiles(Bytes* in, int64_t tile) {
  return (1 + in->Below(2)) * tile + in->Below(4) - 1;
}
int64_t BoxCount(Bytes* in, int64_t tile) {
  static const int64_t kCounts[] = {0, 1, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48};
  const uint8_t code = in->Next();
  return code < 24 ? AroundTiles(in, tile) : kCounts[code % std::size(kCounts)];
}

// Shapes that fit: leading dimensions that either side may leave out or have one element of.
Shapes FittingShapes(Bytes* in, IouShape shape) {
  Shapes out;
  const bool pairwise = shape == IouShape::kPairwise;
  // Not too many pairs, so that a call does not take long; now and then several tiles of both.
  const bool large = pairwise && in->Raw<uint16_t>() % 300 == 0;
  const int64_t most = large ? 1 << 17 : 1 << 11;
  int64_t M = 1, K = 1;
  if (pairwise) {
    M = large ? AroundTiles(in, 128) : BoxCount(in, 128);
    K = large ? AroundTiles(in, 512) : BoxCount(in, 512);
    K = std::min(K, most / std::max<int64_t>(M, 1));
  }
  int64_t pairs = std::max<int64_t>(M * K, 1);
  const int64_t rank = in->Below(32) == 0 ? 10 + in->Below(8) : in->Below(5);
  for (int64_t k = 0; k < rank; ++k) {
    const int64_t code = in->Next();
    int64_t size = code < 8 ? 0 : code < 16 && !pairwise ? 120 + code : 1 + code % 3;
    if (size * pairs > most) size = 1;
    pairs *= std::max<int64_t>(size, 1);
    const int64_t which = in->Below(4);  // of the sides has one element here
    out.boxes[0].push_back(which == 0 ? 1 : size);
    out.boxes[1].push_back(which == 1 ? 1 : size);
    out.result.push_back(size);
  }
  for (int side : {0, 1}) {
    Shape& boxes = out.boxes[side];
    while (!boxes.empty() && boxes[0] == 1 && in->Below(2)) boxes.erase(boxes.begin());
    if (pairwise) boxes.push_back(side == 0 ? M : K);
    const bool masked = in->Below(2) == 0;
    out.valid[side] = masked ? boxes : Shape{0};
    boxes.push_back(4);
  }
  const size_t leading = std::max(out.boxes[0].size(), out.boxes[1].size()) - (pairwise ? 2 : 1);
  out.result.erase(out.result.begin(), out.result.end() - leading);  // what both have left out
  if (pairwise) out.result.insert(out.result.end(), {M, K});
  return out;
}

std::string Read(const BoxIouConfig& config, const Shapes& shapes, BoxIouSizes* sizes,
                 Shape* result = nullptr) {
  return ReadBoxIouShapes(config, shapes.boxes[0], shapes.boxes[1], shapes.valid[0],
                          shapes.valid[1], sizes, result);
}

// What the table says of a call of the gradient.
std::string InferGradient(const BoxIouConfig& config, const Shapes& shapes, const Shape& upstream) {
  Call call;
  call.config = &config;
  for (const Shape& boxes : shapes.boxes) call.in.push_back({DType::kFloat, boxes});
  for (const Shape& valid : shapes.valid) call.in.push_back({DType::kBool, valid});
  call.in.push_back({DType::kFloat, upstream});
  const bool pairwise = config.shape == IouShape::kPairwise;
  return Infer(pairwise ? kPairwiseIouGrad : kAlignedIouGrad, &call);
}

// Shapes that do not fit are refused.
void CheckRefused(const BoxIouConfig& config, Shapes shapes, Bytes* in) {
  BoxIouSizes sizes;
  const int64_t side = in->Below(2);
  Shape upstream = shapes.result;
  upstream.push_back(1);
  Require(InferGradient(config, shapes, shapes.result) == "" &&
              InferGradient(config, shapes, upstream) != "",
          "an upstream gradient like the result");
  Shape& valid = shapes.valid[side];
  Shape& boxes = shapes.boxes[side];
  switch (in->Below(3)) {
    case 0:
      boxes.back() += 1 + in->Below(3);
      break;
    case 1:
      valid.push_back(1);
      break;
    default:  // leading dimensions of 2 and 3
      for (int k : {0, 1}) {
        Shape& either = shapes.boxes[k];
        either.insert(either.begin(), shapes.result.size() + 2 - either.size(), 1);
        either[0] = 2 + k;
        shapes.valid[k] = {0};
      }
  }
  Require(Read(config, shapes, &sizes) != "", "shapes that do not fit are refused");
}

// ------------------------------------------------------------------------------------------ values

// A box of either side: a fresh one, or one that touches or equals some `seen` before. Numbers are
// of few bits, so that they often tie, unless they are not `ordinary`.
std::array<double, 4> Box(Bytes* in, BoxFormat format, bool ordinary,
                          const std::vector<std::array<double, 4>>& seen) {
  std::array<double, 4> box;
  for (int c : {0, 1}) {
    box[c] = (in->Next() - 64) / 128.0;
    box[2 + c] = in->Below(80) / 128.0 + (format == BoxFormat::kXyxy ? box[c] : 0);
  }
  const uint8_t code = in->Next();
  if (code < 96 && !seen.empty()) {
    const std::array<double, 4>& other = seen[in->Next() % seen.size()];
    for (int c = 0; c < 4; ++c)
      if (code >> c & 1 || code < 16) box[c] = other[c];
  }
  if (96 <= code && code < 112) std::swap(box[0], box[2]);
  if (112 <= code && code < 128) box[3] = -box[3];
  if (128 <= code && code < 160 && !ordinary)
    for (int c = 0; c < 4; ++c)
      if (code >> c & 1) box[c] = Value(in);
  return box;
}

void DrawValues(Bytes* in, const Shapes& shapes, BoxIouCall* call) {
  const BoxIouSizes& sizes = call->sizes;
  std::vector<std::array<double, 4>> seen;
  for (int side : {0, 1}) {
    const int64_t count = sizes.Count(side) * sizes.Boxes(side);
    for (int64_t k = 0; k < count; ++k) {
      seen.push_back(Box(in, call->config.format, call->ordinary, seen));
      call->boxes[side].insert(call->boxes[side].end(), seen.back().begin(), seen.back().end());
    }
    const int64_t share = in->Below(5);  // of the boxes that count, if there is a mask
    if (shapes.valid[side] == Shape{0}) continue;
    for (int64_t k = 0; k < count; ++k) call->valid[side].push_back(in->Below(4) < share);
  }
  call->upstream.resize(sizes.N * sizes.M * sizes.K);
  for (double& value : call->upstream)
    value = call->ordinary ? (in->Next() - 128) / 128.0 : Value(in);
}

// ------------------------------------------------------------------------------------------- calls

void CheckCall(Bytes* in) {
  static const DType kTypes[] = {DType::kFloat, DType::kDouble, DType::kHalf, DType::kBfloat16};
  BoxIouCall call;
  call.config.shape = in->Below(3) ? IouShape::kPairwise : IouShape::kAligned;
  Require(ParseBoxIouConfig(ConfigText(in), &call.config) == "", "a valid configuration");
  call.type = kTypes[in->Below(4)];
  const Shapes shapes = FittingShapes(in, call.config.shape);
  Shape result;
  const std::string error = Read(call.config, shapes, &call.sizes, &result);
  if (error.find("may be broadcast in turn") != std::string::npos) return;
  Require(error == "" && result == shapes.result, "fitting shapes are accepted" + error);
  CheckRefused(call.config, shapes, in);
  call.offset = in->Below(2) * in->Below(17);
  call.split = in->Raw<uint16_t>();
  call.threads = in->Below(8) == 0;
  call.large = in->Below(2) == 0;
  call.ordinary = in->Below(2) == 0;
  DrawValues(in, shapes, &call);
  call.cuda = in->Below(8) == 0 && call.sizes.N <= 24;  // at least a block each
  Check(call);
}

}  // namespace
}  // namespace yolov1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = [](yolov1::Bytes* in) { return yolov1::ConfigText(in); };
  return yolov1::Fuzz(data, size, 8, text, yolov1::CheckText, yolov1::CheckCall);
}
