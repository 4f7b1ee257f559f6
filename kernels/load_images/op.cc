// Images to an augmented batch: the interfaces of load_images (JPEG files) and augment_images
// (pixels in memory), the text that configures them, what their inputs must look like, and how they
// are run.
#include <algorithm>

#include "kernels/config.h"
#include "kernels/load_images/kernel.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

namespace yolov1 {
namespace {

#define DRAWS_DOC                                                                                  \
  "\n"                                                                                             \
  "windows: [n, 4]: corners x0, y0, x1, y1 as fractions of the image, rounded to whole pixels of " \
  "it.\n"                                                                                          \
  "  Outside of the image the window shows grey, 127, or with Darknet's sampling its edge.\n"      \
  "flips: [n, 2]: whether the window is mirrored left to right, and top to bottom.\n"              \
  "transpose: [n]: whether x and y change places, at last.\n"                                      \
  "colours: [n, 3]: hue turn, and the factors of saturation and exposure in HSV space.\n"          \
  "images: [n, size, size, 3]: the window resized bilinearly, half-pixel centres or as sampling "  \
  "says, with values in [0, 1],\n"                                                                 \
  "  or from 0 to 255 as uint8.\n"

constexpr const char* kLoadDoc = R"doc(
JPEG files to an augmented batch.

Each is decoded at 1/r of its size, r being the largest of 1, 2, 4 and 8 at which its shorter side
still has `size` pixels: only what its window shows. One that cannot be decoded is an error that
names its number. There is no gradient.

contents: [n]: the files' bytes.
config: "size=448 dtype=float32 sampling=half_pixel"; sampling: half_pixel (may be left out),
  darknet (corners on corners; r = 1) or darknet_black_row (the last row lacks its second pixel).)doc" DRAWS_DOC;

constexpr const char* kAugmentDoc = R"doc(
Pixels to an augmented batch.

With shrink=True each image is averaged down to 1/r of its size first, r being the largest of 1, 2,
4 and 8 at which its shorter side still has `size` pixels. On a GPU an image whose numbers do not
fit is filled with NaN (uint8: 0); on the CPU it is an error. There is no gradient.

values: the pixels, RGB.
offsets: [n]: where those of each image begin; they may share some.
sizes: [n, 2]: height and width of each image.
config: "size=448 dtype=float32 shrink=True sampling=half_pixel"; sampling as of load_images; but for
  half_pixel r = 1.)doc" DRAWS_DOC;
#undef DRAWS_DOC

constexpr int32_t kMostSize = 1 << 14;

std::string ParseConfig(const char* face, bool pixels, std::string_view text,
                        LoadImagesConfig* config) {
  constexpr DType kTypes[] = {DType::kFloat, DType::kHalf, DType::kBfloat16, DType::kUint8};
  ConfigReader reader = {face, text};
  reader.Read("size", "an integer from 1 to 16384", 1, kMostSize, &config->size);
  int type = 0;
  reader.Choose("dtype", {"float32", "float16", "bfloat16", "uint8"}, &type);
  config->type = kTypes[type];
  if (pixels) reader.Choose("shrink", {"False", "True"}, &config->shrink);
  reader.ChooseIfGiven("sampling", {"half_pixel", "darknet", "darknet_black_row"},
                       &config->sampling);
  if (config->sampling != Sampling::kHalfPixel) config->shrink = false;
  return reader.Finish();
}

// The draws are the last four inputs of both ops.
struct DrawInputs {
  const View &windows, &flips, &transpose, &colours;
};
DrawInputs Draws(const Call& call) {
  const View* const last = &call.in.back();
  return {last[-3], last[-2], last[-1], last[0]};
}

std::string CheckDraws(const char* face, const DrawInputs& in, int64_t images) {
  const bool fit = Fits(in.windows.shape, {images, 4}) && Fits(in.flips.shape, {images, 2}) &&
                   Fits(in.transpose.shape, {images}) && Fits(in.colours.shape, {images, 3});
  const std::string start = std::string(face) + ": ";
  if (!fit)
    return start + "for n images windows must be [n, 4], flips [n, 2], transpose [n] and colours " +
           "[n, 3], got " + ShapeText(in.windows.shape) + ", " + ShapeText(in.flips.shape) + ", " +
           ShapeText(in.transpose.shape) + " and " + ShapeText(in.colours.shape) +
           " for n = " + (images < 0 ? "?" : std::to_string(images)) + ".";
  if (in.windows.type != DType::kFloat || in.flips.type != DType::kBool ||
      in.transpose.type != DType::kBool || in.colours.type != DType::kFloat)
    return start + "windows and colours must be float32, flips and transpose bool, got " +
           DTypeName(in.windows.type) + ", " + DTypeName(in.colours.type) + ", " +
           DTypeName(in.flips.type) + " and " + DTypeName(in.transpose.type) + ".";
  return "";
}

// What both ops have in common, behind the check of the images themselves.
std::string InferImages(const char* face, int64_t images, Call* call) {
  const DrawInputs draws = Draws(*call);
  for (const View* input : {&draws.windows, &draws.flips, &draws.transpose, &draws.colours})
    if (images < 0) images = Dim(input->shape, 0);
  std::string error = CheckDraws(face, draws, images);
  const auto& config = call->As<LoadImagesConfig>();
  if (error.empty()) call->Result(0, config.type, {images, config.size, config.size, 3});
  return error;
}

std::string InferLoaded(Call* call) {
  const View& contents = call->in[0];
  if (!Fits(contents.shape, {kUnknown}) || contents.type != DType::kString)
    return std::string("load_images: contents must be strings [n], got ") +
           DTypeName(contents.type) + " " + ShapeText(contents.shape) + ".";
  return InferImages("load_images", Dim(contents.shape, 0), call);
}

std::string InferAugmented(Call* call) {
  const View &values = call->in[0], &offsets = call->in[1], &sizes = call->in[2];
  if (!Fits(values.shape, {kUnknown}) || !Fits(offsets.shape, {kUnknown}) ||
      !Fits(sizes.shape, {Dim(offsets.shape, 0), 2}) || values.type != DType::kUint8 ||
      offsets.type != DType::kInt64 || sizes.type != DType::kInt32)
    return std::string(
               "augment_images: pixels must be values uint8 [total], offsets int64 [n] and "
               "sizes int32 [n, 2], got ") +
           DTypeName(values.type) + " " + ShapeText(values.shape) + ", " + DTypeName(offsets.type) +
           " " + ShapeText(offsets.shape) + " and " + DTypeName(sizes.type) + " " +
           ShapeText(sizes.shape) + ".";
  const int64_t images = std::max(Dim(offsets.shape, 0), Dim(sizes.shape, 0));
  return InferImages("augment_images", images, call);
}

LoadImagesArgs Read(const Call& call) {
  LoadImagesArgs args;
  args.config = call.As<LoadImagesConfig>();
  const DrawInputs draws = Draws(call);
  args.images = draws.windows.shape[0];
  args.draws = {static_cast<const float*>(draws.windows.data),
                static_cast<const bool*>(draws.flips.data),
                static_cast<const bool*>(draws.transpose.data),
                static_cast<const float*>(draws.colours.data)};
  if (call.in[0].type == DType::kString) {
    args.contents = static_cast<const std::string_view*>(call.in[0].data);
  } else {
    args.pixels = {static_cast<const uint8_t*>(call.in[0].data), call.in[0].size(),
                   static_cast<const int64_t*>(call.in[1].data),
                   static_cast<const int32_t*>(call.in[2].data)};
  }
  args.out = call.out[0].data;
  return args;
}

std::string OnCpu(const Call& call, const ParallelFor& parallel) {
  const LoadImagesArgs args = Read(call);
  if (args.images == 0) return "";
  FirstComplaint first;
  parallel(args.images, LoadImagesCpuCost(args), [&](int64_t begin, int64_t end) {
    first.Add(begin, LoadImagesCpu(args, begin, end, call.version));
  });
  return first.text();
}

#ifdef YOLOV1_CUDA
std::string OnCuda(const Call& call, void* stream) { return AugmentImagesCuda(Read(call), stream); }
#endif

std::vector<std::string> Versions(bool on_gpu) {
  return on_gpu ? std::vector<std::string>{"only"} : LoadImagesVersions();
}

}  // namespace

const Op kLoadImages = [] {
  Op op;
  op.name = "Yolov1>LoadImages";
  op.face = "load_images";
  op.inputs = {"contents: string", "windows: float", "flips: bool", "transpose: bool",
               "colours: float"};
  op.outputs = {"images: T"};
  op.attributes = {"T: {float, half, bfloat16, uint8} = DT_FLOAT"};
  op.doc = kLoadDoc;
  op.configure = ConfigureBy<LoadImagesConfig, ParseLoadImagesConfig>;
  op.infer = InferLoaded;
  op.cpu = OnCpu;
  op.versions = Versions;
  return op;
}();

const Op kAugmentImages = [] {
  Op op = kLoadImages;
  op.name = "Yolov1>AugmentImages";
  op.face = "augment_images";
  op.inputs = {"values: uint8", "offsets: int64",  "sizes: int32",  "windows: float",
               "flips: bool",   "transpose: bool", "colours: float"};
  op.doc = kAugmentDoc;
  op.configure = ConfigureBy<LoadImagesConfig, ParseAugmentImagesConfig>;
  op.infer = InferAugmented;
  op.cuda = YOLOV1_CUDA_OR_NULL(OnCuda);
  return op;
}();

std::string ParseLoadImagesConfig(std::string_view text, LoadImagesConfig* config) {
  return ParseConfig("load_images", false, text, config);
}
std::string ParseAugmentImagesConfig(std::string_view text, LoadImagesConfig* config) {
  return ParseConfig("augment_images", true, text, config);
}

}  // namespace yolov1
