// Batched IoU: the ops' interfaces, the text that configures them, what their inputs must look like
// and their results do, and how they are run.
#include <algorithm>
#include <utility>

#include "kernels/box_iou/kernel.h"
#include "kernels/config.h"
#include "kernels/ops.h"

namespace yolov1 {
namespace {

// ------------------------------------------------------------------------------------ interfaces

constexpr const char* kPairwiseDoc = R"doc(
The overlap of each box a with each box b. I is the area of a pair's intersection, U that of its
union, C that of the box that encloses both; c is the diagonal of that box, d the distance of the
centres.

iou  = I / U
giou = iou - (C - U) / C
diou = iou - d^2 / c^2
ciou = diou - alpha v,  v = 4 / pi^2 (atan(w_a / h_a) - atan(w_b / h_b))^2,
                        alpha = v / (1 - iou + v), a constant in the gradient

0 / 0 counts as 0, and a side of negative length as 0. Half and bfloat16 are computed in float.

boxes_a: [..., M, 4].
boxes_b: [..., K, 4]. Leading dimensions are broadcast against each other.
valid_a: [..., M] as in boxes_a: which boxes count; [0] for all. Pairs of another box are 0, and
  its coordinates are not read.
valid_b: [..., K] as in boxes_b, or [0].
iou: [..., M, K].
config: "kind=giou box_format=xyxy"; kind: iou, giou, diou or ciou; box_format: xyxy (corners) or
  cxcywh (centre and size).
)doc";

constexpr const char* kPairwiseGradDoc = R"doc(
The gradient of sum(upstream * iou) of Yolov1>PairwiseIou; its inputs, and:

upstream: [..., M, K] like iou; not read for pairs that are not valid.
gradient_a: like boxes_a, summed over all that a box was paired with; 0 for a box that is not valid.
gradient_b: like boxes_b.
)doc";

constexpr const char* kAlignedDoc = R"doc(
The overlap of boxes a and b one by one; formulas and config as in Yolov1>PairwiseIou.

boxes_a: [..., 4].
boxes_b: [..., 4]. Leading dimensions are broadcast against each other.
valid_a: [...] as in boxes_a, or [0] for all.
valid_b: [...] as in boxes_b, or [0].
iou: [...].
)doc";

constexpr const char* kAlignedGradDoc = R"doc(
The gradient of sum(upstream * iou) of Yolov1>AlignedIou; its inputs, and:

upstream: [...] like iou; not read for pairs that are not valid.
gradient_a: like boxes_a, summed over all that a box was paired with; 0 for a box that is not valid.
gradient_b: like boxes_b.
)doc";

// ---------------------------------------------------------------------------------------- shapes

// The dimensions of boxes that are not leading ones: [M, 4], or [4].
size_t InnerRank(const BoxIouConfig& config) { return config.shape == IouShape::kPairwise ? 2 : 1; }

// What is wrong with the shapes of one side, 'a' or 'b', by themselves.
std::string CheckSide(const BoxIouConfig& config, char side, const Shape& boxes,
                      const Shape& valid) {
  if (!Ranked(boxes)) return "";
  const std::string start = std::string(config.name()) + ": ";
  if (boxes.size() < InnerRank(config) || !Fits(boxes.back(), 4)) {
    const char* boxes_count = side == 'a' ? "M, " : "K, ";
    return start + "boxes_" + side + " must be [..., " +
           (config.shape == IouShape::kPairwise ? boxes_count : "") + "4], got " +
           ShapeText(boxes) + ".";
  }
  const bool none = valid.size() == 1 && valid[0] == 0;
  if (!none && Known(boxes) && Known(valid) &&
      !std::equal(valid.begin(), valid.end(), boxes.begin(), boxes.end() - 1))
    return start + "valid_" + side + " must be " + ShapeText({boxes.begin(), boxes.end() - 1}) +
           " for boxes_" + side + " " + ShapeText(boxes) + ", got " + ShapeText(valid) + ".";
  return "";
}

// Sets N, count_a, count_b and batch of `sizes`, and `leading`, the broadcast shape, of boxes with
// `inner` dimensions more. Returns "", or what is wrong with the shapes.
std::string BroadcastLeading(const Shape& boxes_a, const Shape& boxes_b, size_t inner,
                             BoxIouSizes* sizes, Shape* leading) {
  const size_t rank = std::max(boxes_a.size(), boxes_b.size()) - inner;
  leading->assign(rank, 1);
  Broadcast& batch = sizes->batch;
  sizes->N = sizes->count_a = sizes->count_b = 1;
  const auto last = [inner](const Shape& boxes, size_t k) {  // k: from the last leading one on
    return k + inner < boxes.size() ? boxes[boxes.size() - inner - 1 - k] : 1;
  };
  for (size_t k = 0; k < rank; ++k) {
    const int64_t a = last(boxes_a, k), b = last(boxes_b, k);
    int64_t& size = (*leading)[rank - 1 - k];
    if (a < 0 || b < 0) {  // a known size other than 1 is that of the result
      size = std::max(a, b) == 1 ? kUnknown : std::max(a, b);
      continue;
    }
    if (a != b && a != 1 && b != 1)
      return "the leading dimensions of boxes_a and boxes_b must be equal or 1 (they are "
             "broadcast)";
    size = a == 1 ? b : a;
    const int64_t strides[] = {a == 1 ? 0 : sizes->count_a, b == 1 ? 0 : sizes->count_b};
    if (__builtin_mul_overflow(sizes->N, size, &sizes->N) ||
        __builtin_mul_overflow(sizes->count_a, a, &sizes->count_a) ||
        __builtin_mul_overflow(sizes->count_b, b, &sizes->count_b))
      return "the result must have less than 2^63 elements";
    if (size == 1 || sizes->N == 0) continue;  // nothing to walk through
    const int before = batch.rank - 1;
    if (before >= 0 && strides[0] == batch.sizes[before] * batch.strides[0][before] &&
        strides[1] == batch.sizes[before] * batch.strides[1][before]) {
      batch.sizes[before] *= size;
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

// ----------------------------------------------------------------------------------------- calls

template <IouShape shape>
std::string Configure(std::string_view text, BoxIouConfig* config) {
  config->shape = shape;
  return ParseBoxIouConfig(text, config);
}

// The configuration, sizes and inputs of a call whose shapes fit, or what is wrong with it; and the
// shape of the overlaps.
std::string Read(const Call& call, BoxIouArgs* args, Shape* iou) {
  const std::vector<View>& in = call.in;
  args->config = call.As<BoxIouConfig>();
  args->type = in[0].type;
  const auto mask = [&](const View& valid) {  // [0] is none; one of no boxes at all may be none too
    return valid.data == nullptr || valid.size() == 0 ? nullptr
                                                      : static_cast<const bool*>(valid.data);
  };
  args->boxes_a = in[0].data;
  args->boxes_b = in[1].data;
  args->valid_a = mask(in[2]);
  args->valid_b = mask(in[3]);
  return ReadBoxIouShapes(args->config, in[0].shape, in[1].shape, in[2].shape, in[3].shape,
                          &args->sizes, iou);
}

std::string CheckTypes(const Call& call) {
  const DType a = call.in[0].type, b = call.in[1].type;
  const std::string start = std::string(call.As<BoxIouConfig>().name()) + ": ";
  if (!IsFloating(a) || a != b)
    return start +
           "boxes_a and boxes_b must have one dtype of float32, float64, float16, bfloat16, " +
           "got " + DTypeName(a) + " and " + DTypeName(b) + "; convert them first.";
  if (call.in[2].type != DType::kBool || call.in[3].type != DType::kBool)
    return start + "valid_a and valid_b must be bool, got " + DTypeName(call.in[2].type) + " and " +
           DTypeName(call.in[3].type) + ".";
  return "";
}

std::string InferIou(Call* call) {
  BoxIouArgs args;
  call->out[0].type = call->in[0].type;
  const std::string error = Read(*call, &args, &call->out[0].shape);
  return error.empty() ? CheckTypes(*call) : error;
}

std::string IouOnCpu(const Call& call, const ParallelFor& parallel) {
  BoxIouArgs args;
  Read(call, &args, nullptr);
  args.iou = call.out[0].data;
  return OutOfMemoryUnless(BoxIouCpu(args, parallel, call.version));
}

std::string InferGradient(Call* call) {
  BoxIouArgs args;
  Shape iou;
  std::string error = Read(*call, &args, &iou);
  if (error.empty()) error = CheckTypes(*call);
  if (!error.empty()) return error;
  const View& upstream = call->in[4];
  const bool known = Known(iou);
  const bool fits = !known || !Known(upstream.shape) || upstream.shape == iou;
  if (!fits || upstream.type != args.type)
    return std::string(args.config.name()) + ": upstream must be " + DTypeName(args.type) + " " +
           ShapeText(iou) + ", got " + DTypeName(upstream.type) + " " + ShapeText(upstream.shape) +
           ".";
  const Sides sides = args.config.sides;
  for (int side : {0, 1}) {
    const bool wanted = sides == Sides::kBoth || sides == (side == 0 ? Sides::kA : Sides::kB);
    call->Result(side, args.type, wanted ? call->in[side].shape : Shape{0});
  }
  int64_t workspace = 0;
#ifdef YOLOV1_CUDA
  if (call->on_gpu) workspace = known ? BoxIouWorkspace(args) : kUnknown;
#endif
  call->Result(2, DType::kUint8, {workspace});
  return "";
}

BoxIouArgs GradientArgs(const Call& call) {
  BoxIouArgs args;
  Read(call, &args, nullptr);
  args.upstream = call.in[4].data;
  if (args.config.sides != Sides::kB) args.gradient_a = call.out[0].data;
  if (args.config.sides != Sides::kA) args.gradient_b = call.out[1].data;
  return args;
}

std::string GradientOnCpu(const Call& call, const ParallelFor& parallel) {
  return OutOfMemoryUnless(BoxIouGradientCpu(GradientArgs(call), parallel, call.version));
}

#ifdef YOLOV1_CUDA
std::string IouOnCuda(const Call& call, void* stream) {
  BoxIouArgs args;
  Read(call, &args, nullptr);
  args.iou = call.out[0].data;
  return BoxIouCuda(args, stream, call.version);
}

std::string GradientOnCuda(const Call& call, void* stream) {
  return BoxIouGradientCuda(GradientArgs(call), call.out[2].data, stream, call.version);
}
#endif

std::vector<std::string> Versions(bool on_gpu) {
#ifdef YOLOV1_CUDA
  if (on_gpu) return BoxIouCudaVersions();
#endif
  return on_gpu ? std::vector<std::string>() : BoxIouVersions();
}

template <IouShape shape>
Op Iou(const char* name, const char* doc) {
  Op op;
  op.name = name;
  op.face = shape == IouShape::kPairwise ? "pairwise_iou" : "aligned_iou";
  op.inputs = {"boxes_a: T", "boxes_b: T", "valid_a: bool", "valid_b: bool"};
  op.outputs = {"iou: T"};
  op.attributes = {"T: {float, double, half, bfloat16}"};
  op.doc = doc;
  op.configure = ConfigureBy<BoxIouConfig, Configure<shape>>;
  op.infer = InferIou;
  op.cpu = IouOnCpu;
  op.cuda = YOLOV1_CUDA_OR_NULL(IouOnCuda);
  op.versions = Versions;
  return op;
}

template <IouShape shape>
Op IouGrad(const char* name, const char* doc) {
  Op op = Iou<shape>(name, doc);
  op.inputs.push_back("upstream: T");
  op.outputs = {"gradient_a: T", "gradient_b: T"};
  op.scratch = {"workspace"};  // of BoxIouWorkspace() bytes on a GPU, [0] on the CPU
  op.infer = InferGradient;
  op.cpu = GradientOnCpu;
  op.cuda = YOLOV1_CUDA_OR_NULL(GradientOnCuda);
  return op;
}

}  // namespace

const Op kPairwiseIou = Iou<IouShape::kPairwise>("Yolov1>PairwiseIou", kPairwiseDoc);
const Op kAlignedIou = Iou<IouShape::kAligned>("Yolov1>AlignedIou", kAlignedDoc);
const Op kPairwiseIouGrad =
    IouGrad<IouShape::kPairwise>("Yolov1>PairwiseIouGrad", kPairwiseGradDoc);
const Op kAlignedIouGrad = IouGrad<IouShape::kAligned>("Yolov1>AlignedIouGrad", kAlignedGradDoc);

std::string ParseBoxIouConfig(std::string_view text, BoxIouConfig* config) {
  ConfigReader reader = {config->name(), text};
  reader.Choose("kind", {"iou", "giou", "diou", "ciou"}, &config->kind);
  reader.Choose("box_format", {"xyxy", "cxcywh"}, &config->format);
  if (!reader.Find("sides").empty()) reader.Choose("sides", {"ab", "a", "b"}, &config->sides);
  return reader.Finish();
}

// Every call comes through here: text is made only where there is something to say.
std::string ReadBoxIouShapes(const BoxIouConfig& config, const Shape& boxes_a, const Shape& boxes_b,
                             const Shape& valid_a, const Shape& valid_b, BoxIouSizes* sizes,
                             Shape* result) {
  std::string error = CheckSide(config, 'a', boxes_a, valid_a);
  if (error.empty()) error = CheckSide(config, 'b', boxes_b, valid_b);
  if (!error.empty()) return error;

  *sizes = {};
  if (!Ranked(boxes_a) || !Ranked(boxes_b)) {
    if (result != nullptr) result->assign({kAnyRank});
    return "";
  }
  Shape leading;
  error = BroadcastLeading(boxes_a, boxes_b, InnerRank(config), sizes, &leading);
  if (config.shape == IouShape::kPairwise) {
    sizes->M = boxes_a.end()[-2];
    sizes->K = boxes_b.end()[-2];
    leading.insert(leading.end(), {sizes->M, sizes->K});
  }
  int64_t pairs = 0;
  if (error.empty() && Known(leading) &&
      (__builtin_mul_overflow(sizes->N, sizes->M, &pairs) ||
       __builtin_mul_overflow(pairs, sizes->K, &pairs)))
    error = "the result must have less than 2^63 elements";
  if (!error.empty())
    return std::string(config.name()) + ": " + error + ", got " + ShapeText(boxes_a) + " and " +
           ShapeText(boxes_b) + ".";
  if (result != nullptr) *result = std::move(leading);
  return "";
}

}  // namespace yolov1
