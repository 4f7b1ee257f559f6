// Batched IoU on CUDA, forward and backward. kernels/README.md has the ladder of versions.
//
// Sums are taken in one order whatever the GPU does first, so that the bits are always the same: a
// box's gradients by lanes, then by tiles, and only the sum is taken back to its coordinates.
#include <algorithm>
#include <iterator>

#include "kernels/box_iou/cuda_direct.h"
#include "kernels/box_iou/cuda_tiles.h"
#include "kernels/box_iou/kernel.h"

namespace yolov1 {
namespace {

enum Version { kTiles, kDirect };
const char* const kVersions[] = {"tiles", "direct"};

// Aligned boxes, and those without a partner, have no tiles.
int VersionFor(const BoxIouArgs& args, int version) {
  return args.config.shape == IouShape::kAligned || args.empty() ? kDirect : version;
}

}  // namespace

std::vector<std::string> BoxIouCudaVersions() {
  return {std::begin(kVersions), std::end(kVersions)};
}

int64_t BoxIouWorkspace(const BoxIouArgs& args) {
  const auto bytes = [&](auto zero) {
    using A = decltype(zero);
    const int64_t direct = DirectBytes<A>(args.sizes);
    return VersionFor(args, kTiles) == kDirect ? direct
                                               : std::max(direct, Workspace<A>::Bytes(args.sizes));
  };
  return args.type == DType::kDouble ? bytes(double{}) : bytes(float{});
}

std::string BoxIouCuda(const BoxIouArgs& args, void* stream, int version) {
  if (args.empty()) return "";
  const BoxIouSizes& sizes = args.sizes;
  return WithType(args.type, [&](auto type) {
    using T = decltype(type);
    if (VersionFor(args, version) == kDirect) {
      const int64_t blocks = Groups(sizes.N * sizes.M * sizes.K, kThreads);
      return Launch(Name(args, "direct"), DirectIou<T>, Blocks(blocks), kThreads, 0, stream, args);
    }
    const Tiles tiles(sizes);
    const int64_t count = sizes.N * tiles.a * tiles.b;
    return WithIouKind(args.config.kind, [&](auto constant) {
      return Launch(Name(args, "tiles"), TileIou<decltype(constant)::kind, T>, Blocks(count),
                    kThreads, 0, stream, args, tiles, count);
    });
  });
}

std::string BoxIouGradientCuda(const BoxIouArgs& args, void* workspace, void* stream, int version) {
  if (args.gradient_a == nullptr && args.gradient_b == nullptr) return "";
  return WithType(args.type, [&](auto type) {
    using T = decltype(type);
    return VersionFor(args, version) == kDirect ? LaunchDirectGradient<T>(args, workspace, stream)
                                                : LaunchTileGradient<T>(args, workspace, stream);
  });
}

}  // namespace yolov1
