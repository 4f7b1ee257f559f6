// A call of the CUDA kernel of the image ops (tests/native/cuda/), held against what is expected of
// each image to the bit.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "kernels/op.h"
#include "tests/native/buffers.h"

namespace yolov1 {

// `call` is one that Infer() was content with; `want` the bytes of each image, none of one that
// does not fit: that is filled with NaN, or with 0 in uint8. The result lies `offset` elements
// behind a multiple of 64 bytes.
inline void CheckOnCuda(const Op& op, Call call, const std::vector<std::vector<uint8_t>>& want,
                        int64_t offset) {
  const View& result = call.out[0];
  const int64_t count = result.size(), images = static_cast<int64_t>(want.size());
  Buffer out(result.type, count, offset, 0x5a);
  call.on_gpu = true;
  call.version = 0;
  call.out[0].data = out.data();
  const std::string error = op.cuda(call, nullptr);
  Require(error.empty(), error);
  const int64_t values = images == 0 ? 0 : count / images, bytes = values * SizeOf(result.type);
  for (int64_t image = 0; image < images; ++image) {
    const std::string what = std::string(op.face) + " on CUDA: image " + std::to_string(image);
    if (!want[image].empty()) {
      Require(memcmp(out.data() + image * bytes, want[image].data(), bytes) == 0,
              what + " has other bits");
      continue;
    }
    for (int64_t k = image * values; k < (image + 1) * values; ++k)
      Require(result.type == DType::kUint8 ? out.data()[k] == 0 : std::isnan(out[k]),
              what + " does not fit and is not filled");
  }
}

}  // namespace yolov1
