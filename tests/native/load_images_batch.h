// A batch of images with draws of its own, what is expected of each, and a call of an image op that
// must give that: at once, in parts in any order and on threads, at every version.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/caches.h"
#include "kernels/load_images/kernel.h"
#include "kernels/ops.h"
#include "tests/native/bytes.h"
#include "tests/native/load_images_call.h"
#include "tests/native/load_images_rule.h"

namespace yolov1 {

inline float Corner(Bytes* in) {
  static const float kFar[] = {NAN,  INFINITY, -INFINITY, 1e30f,    -1e4f,        7e3f,
                               3e7f, -3e7f,    0x1p28f,   -0x1p28f, 0x1p28f / 24, 1e-30f};
  const int64_t code = in->Below(64);
  if (code < 12) return in->Below(4) ? 0 : kFar[code];
  if (code < 16) return in->Below(2);
  return (in->Below(128) - 32) / 64.0f;
}

inline float Colour(Bytes* in, bool turn) {
  static const float kOdd[] = {NAN, INFINITY, -1, 0x1p20f, 0x1.fffffep19f, -0.0f, 1e-30f};
  const int64_t code = in->Below(64);
  if (code < 7) return in->Below(4) ? 1 : kOdd[code];
  if (code < 32) return turn ? 0 : 1;
  return turn ? in->Below(256) / 64.0f - 2 : in->Below(256) / 64.0f;
}

struct Batch {
  LoadImagesConfig config;
  int64_t images;
  std::vector<float> windows, colours;
  Buffer flips, transpose;
  ImageDraws draws;
  int64_t bytes;                           // of a result
  std::vector<std::vector<uint8_t>> want;  // of each image; empty: it is refused

  Batch(Bytes* in, int64_t images, bool may_keep_size)
      : images(images),
        flips(DType::kBool, Truths(in, 2 * images), 0),
        transpose(DType::kBool, Truths(in, images), 0),
        want(images) {
    static const int32_t kSizes[] = {15, 16, 17, 31, 32, 33, 48, 50};
    static const DType kTypes[] = {DType::kFloat, DType::kHalf, DType::kBfloat16, DType::kUint8};
    config.size = in->Below(2) ? 1 + static_cast<int32_t>(in->Below(18)) : kSizes[in->Below(8)];
    config.type = kTypes[in->Below(4)];
    static const Sampling kSamplings[] = {Sampling::kHalfPixel, Sampling::kDarknet,
                                          Sampling::kDarknetBlackRow};
    config.sampling = kSamplings[in->Below(3)];
    config.shrink = config.sampling == Sampling::kHalfPixel && (!may_keep_size || in->Below(2));
    for (int64_t k = 0; k < 4 * images; ++k) windows.push_back(Corner(in));
    for (int64_t k = 0; k < 3 * images; ++k) colours.push_back(Colour(in, k % 3 == 0));
    draws = {windows.data(), reinterpret_cast<const bool*>(flips.data()),
             reinterpret_cast<const bool*>(transpose.data()), colours.data()};
    bytes = int64_t{3} * config.size * config.size * SizeOf(config.type);
  }

  int32_t Ratio(int32_t height, int32_t width) const {
    return config.shrink ? ShrinkRatio(height, width, config.size) : 1;
  }

  void Refuse(int64_t image) { want[image].clear(); }
  // What the plain rule makes of its pixels, unless it refuses the draws.
  void Expect(int64_t image, const KnownPixels& pixels) {
    want[image].resize(bytes);
    if (!draws.Colour(image).sound() ||
        !PlainImage(config, draws, image, pixels, want[image].data()))
      Refuse(image);
  }

  void Check(const Op& op, const std::vector<View>& pixels, Bytes* in) {
    Call call;
    call.config = &config;
    call.in = pixels;
    call.in.push_back({DType::kFloat, {images, 4}, windows.data()});
    call.in.push_back({DType::kBool, {images, 2}, flips.data()});
    call.in.push_back({DType::kBool, {images}, transpose.data()});
    call.in.push_back({DType::kFloat, {images, 3}, colours.data()});
    CheckShapes(op, call, in);
    const std::string error = Infer(op, &call);
    Require(error.empty(), error);
    Require(call.out[0].type == config.type &&
                call.out[0].shape == Shape{images, config.size, config.size, 3},
            "the shape of a batch");
    for (size_t version = 0; version < op.versions(false).size(); ++version) {
      call.version = static_cast<int>(version);
      StreamingBound() = in->Below(2) ? 0 : int64_t{1} << 60;
      Run(op, &call, in->Below(17), 0x5a, [](int64_t count, int64_t cost, const auto& work) {
        Require(count > 0 && cost > 0, "work, and a positive cost");
        work(0, count);
      });
      Run(op, &call, 0, 0xa5, Parts(in->Raw<uint32_t>(), in->Below(8) == 0));
    }
    if (op.cuda != nullptr && in->Below(4) == 0) CheckOnCuda(op, call, want, in->Below(17));
  }

 private:
  static std::vector<double> Truths(Bytes* in, int64_t count) {
    std::vector<double> truths(count);
    for (double& truth : truths) truth = static_cast<double>(in->Below(2));
    return truths;
  }

  // In any order, or all at once on threads.
  static ParallelFor Parts(uint32_t seed, bool threads) {
    return [seed, threads](int64_t count, int64_t, const auto& work) {
      std::vector<int64_t> images(count);
      for (int64_t k = 0; k < count; ++k) images[k] = k;
      std::shuffle(images.begin(), images.end(), std::mt19937(seed));
      std::vector<std::thread> pool;
      for (const int64_t image : images) {
        const auto run = [&work, image] { work(image, image + 1); };
        threads ? (void)pool.emplace_back(run) : run();
      }
      for (std::thread& thread : pool) thread.join();
    };
  }

  void Run(const Op& op, Call* call, int64_t offset, uint8_t fill, const ParallelFor& parallel) {
    Buffer out(config.type, images * bytes / SizeOf(config.type), offset, fill);
    call->out[0].data = out.data();
    const std::string error = op.cpu(*call, parallel);
    const auto refused =
        std::find_if(want.begin(), want.end(), [](const auto& bytes) { return bytes.empty(); });
    if (refused != want.end()) {
      const std::string start =
          std::string(op.face) + ": image " + std::to_string(refused - want.begin()) + " ";
      Require(error.rfind(start, 0) == 0, "expected '" + start + "...', got '" + error + "'");
      return;
    }
    Require(error.empty(), error);
    for (int64_t image = 0; image < images; ++image)
      Require(memcmp(out.data() + image * bytes, want[image].data(), bytes) == 0,
              std::string(op.face) + ": the bits of image " + std::to_string(image));
  }

  // One of the inputs in another shape, but for the values' own size, which is free; or the draws
  // of other images than there are.
  void CheckShapes(const Op& op, Call call, Bytes* in) const {
    const size_t inputs = call.in.size(), input = in->Below(inputs + 2);
    if (input >= inputs) {
      for (size_t draw = inputs - 4; draw < inputs; ++draw)
        call.in[draw].shape[0] = input == inputs ? images + 1 : images / 2;
      if (images == images / 2 && input > inputs) return;
    } else {
      Shape& shape = call.in[input].shape;
      const bool is_values = call.in[input].type == DType::kUint8;
      if (is_values || in->Below(2))
        in->Below(2) ? shape.pop_back() : shape.push_back(1 + in->Below(3));
      else
        shape[in->Below(shape.size())] += 1 + in->Below(3);
    }
    const std::string error = Infer(op, &call);
    Require(error.rfind(std::string(op.face) + ": ", 0) == 0, "another shape is refused");
  }
};

}  // namespace yolov1
