// The random draws of an augmentation: the arithmetic of yolov1/data/augmentation.py, in its order.
#include "kernels/core/philox.h"
#include "kernels/draw_augmentation/kernel.h"

namespace yolov1 {
namespace {

void DrawOne(const DrawConfig& config, int64_t position, float* window, bool* flips,
             bool* transpose, float* colour) {
  constexpr int kUniforms = 12;
  Philox generator(config.seed, position);
  float u[kUniforms];
  for (int k = 0; k < kUniforms; k += 4) {
    uint32_t words[4];
    generator.Next(words);
    for (int i = 0; i < 4; ++i) u[k + i] = ToUniform(words[i]);
  }
  for (int k = 0; config.jitter > 0 && k < 4; ++k)
    window[k] = static_cast<float>(k / 2) + config.jitter * (2 * u[k] - 1);
  for (int axis = 0; config.jitter == 0 && axis < 2; ++axis) {
    const float size = 1 + config.scale * (2 * u[axis] - 1);
    const float centre = 0.5f + config.translate * (2 * u[2 + axis] - 1);
    window[axis] = centre - size / 2;
    window[2 + axis] = centre + size / 2;
  }
  flips[0] = u[4] < config.flip;
  flips[1] = u[5] < config.vertical_flip;
  *transpose = u[6] < config.transpose;
  colour[0] = config.hue * (2 * u[7] - 1);
  const float most[2] = {config.saturation, config.exposure};
  for (int k = 0; k < 2; ++k) {
    const float factor = 1 + u[8 + k] * (most[k] - 1);
    colour[1 + k] = u[10 + k] < 0.5f ? factor : 1 / factor;
  }
}

}  // namespace

void DrawAugmentationCpu(const DrawArgs& args, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; ++k)
    DrawOne(args.config, args.positions[k], args.windows + 4 * k, args.flips + 2 * k,
            args.transpose + k, args.colours + 3 * k);
}

}  // namespace yolov1
