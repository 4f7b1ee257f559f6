// The random draws of an augmentation: their interface, the text that configures them, and how they
// are run.
#include <limits>

#include "kernels/config.h"
#include "kernels/draw_augmentation/kernel.h"
#include "kernels/ops.h"

namespace yolov1 {
namespace {

constexpr const char* kFace = "draw_augmentation";

constexpr const char* kDoc = R"doc(
What an augmentation draws for each position of a stream: a function of seed and position alone.

positions: [n].
windows: [n, 4]: corners x0, y0, x1, y1 as fractions of the image.
flips: [n, 2]: left to right, top to bottom.
transpose: [n].
colours: [n, 3]: hue turn, saturation factor, exposure factor.
config: "seed=3 scale=0.2 translate=0.2 exposure=1.5 saturation=1.5 hue=0.0 flip=0.5
  vertical_flip=0.0 transpose=0.0 jitter=0.0"; with a jitter scale and translate are 0
)doc";

std::string InferDraws(Call* call) {
  const View& positions = call->in[0];
  if (!Fits(positions.shape, {kUnknown}) || positions.type != DType::kInt64)
    return std::string(kFace) + ": positions must be int64 [n], got " + DTypeName(positions.type) +
           " " + ShapeText(positions.shape) + ".";
  const int64_t n = Dim(positions.shape, 0);
  call->Result(0, DType::kFloat, {n, 4});
  call->Result(1, DType::kBool, {n, 2});
  call->Result(2, DType::kBool, {n});
  call->Result(3, DType::kFloat, {n, 3});
  return "";
}

std::string OnCpu(const Call& call, const ParallelFor& parallel) {
  DrawArgs args;
  args.config = call.As<DrawConfig>();
  args.count = call.in[0].size();
  args.positions = static_cast<const int64_t*>(call.in[0].data);
  args.windows = static_cast<float*>(call.out[0].data);
  args.flips = static_cast<bool*>(call.out[1].data);
  args.transpose = static_cast<bool*>(call.out[2].data);
  args.colours = static_cast<float*>(call.out[3].data);
  constexpr int64_t kCost = 200;
  parallel(args.count, kCost,
           [&](int64_t begin, int64_t end) { DrawAugmentationCpu(args, begin, end); });
  return "";
}

}  // namespace

const Op kDrawAugmentation = [] {
  Op op;
  op.name = "Yolov1>DrawAugmentation";
  op.face = kFace;
  op.inputs = {"positions: int64"};
  op.outputs = {"windows: T", "flips: bool", "transpose: bool", "colours: T"};
  op.attributes = {"T: {float} = DT_FLOAT"};
  op.doc = kDoc;
  op.configure = ConfigureBy<DrawConfig, ParseDrawConfig>;
  op.infer = InferDraws;
  op.cpu = OnCpu;
  return op;
}();

std::string ParseDrawConfig(std::string_view text, DrawConfig* config) {
  constexpr double kMost = std::numeric_limits<float>::max();
  ConfigReader reader = {kFace, text};
  reader.Read("seed", "an integer of 64 bits", std::numeric_limits<int64_t>::min(),
              std::numeric_limits<int64_t>::max(), &config->seed);
  // Decimals become floats as TensorFlow's do: through a double.
  const auto read = [&](const char* key, const char* expected, double least, double most,
                        float* number) {
    double value = 0;
    reader.Read(key, expected, least, most, &value);
    *number = static_cast<float>(value);
  };
  read("scale", "a number from 0 to 1", 0, 1, &config->scale);
  read("translate", "a number from 0 to 0.5", 0, 0.5, &config->translate);
  read("exposure", "a number of at least 1", 1, kMost, &config->exposure);
  read("saturation", "a number of at least 1", 1, kMost, &config->saturation);
  read("hue", "a number from 0 to 1", 0, 1, &config->hue);
  read("flip", "a number from 0 to 1", 0, 1, &config->flip);
  read("vertical_flip", "a number from 0 to 1", 0, 1, &config->vertical_flip);
  read("transpose", "a number from 0 to 1", 0, 1, &config->transpose);
  read("jitter", "a number from 0 to below 0.5", 0, 0x1.fffffep-2, &config->jitter);
  if (config->jitter > 0 && (config->scale > 0 || config->translate > 0))
    reader.Complain("jitter", "0 beside a scale or a translate", reader.Find("jitter"));
  return reader.Finish();
}

}  // namespace yolov1
