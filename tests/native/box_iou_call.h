// One call of the IoU kernels, forward and backward, and what must hold for any input. The values
// are not checked here: tests/ops holds them against the NumPy reference (iou_numpy.py).
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/box_iou/kernel.h"
#include "kernels/caches.h"
#include "tests/native/buffers.h"

namespace yolov1 {

struct BoxIouCall {
  BoxIouConfig config;
  BoxIouSizes sizes;
  DType type = DType::kFloat;
  std::vector<double> boxes[2], upstream;  // of a and of b; of the pairs
  std::vector<char> valid[2];              // empty: no mask
  int64_t offset = 0;                      // of every buffer, in elements
  uint32_t split = 0;                      // seed for the parts that the work is done in
  bool threads = false;                    // each part on its own
  bool ordinary = false;                   // all numbers are such that sums are near in any order
  // Of a result that does not stay in the caches: the forward pass is told of more elements than
  // there are, and asked only for those.
  bool large = false;
  bool cuda = false;  // also the CUDA kernels, which take longer here (tests/native/cuda/)

  int64_t Boxes(int side) const { return static_cast<int64_t>(boxes[side].size()) / 4; }

  // Calls function(pair, box a, box b, whether both count) for every pair.
  template <typename Function>
  void EachPair(const Function& function) const {
    for (int64_t n = 0, pair = 0; n < sizes.N; ++n) {
      const int64_t first_a = sizes.batch.Source(0, n) * sizes.M;
      const int64_t first_b = sizes.batch.Source(1, n) * sizes.K;
      for (int64_t a = first_a; a < first_a + sizes.M; ++a)
        for (int64_t b = first_b; b < first_b + sizes.K; ++b, ++pair)
          function(pair, a, b, Valid(0, a) && Valid(1, b));
    }
  }

 private:
  bool Valid(int side, int64_t box) const { return valid[side].empty() || valid[side][box]; }
};

// ------------------------------------------------------------------------------- running the call

// The whole at once.
inline void Whole(int64_t count, int64_t cost, const std::function<void(int64_t, int64_t)>& work) {
  Require(count > 0 && cost > 0, "work, and a positive cost");
  work(0, count);
}

// Parts of odd sizes, some of them empty, in any order or all at once on threads.
inline ParallelFor Parts(const BoxIouCall& call) {
  return [&call, generator = std::mt19937(call.split)](int64_t count, int64_t cost,
                                                       const auto& work) mutable {
    Require(count > 0 && cost > 0, "work, and a positive cost");
    std::vector<int64_t> ends = {0, count};
    for (int64_t cuts = generator() % 5; cuts > 0; --cuts)
      ends.push_back(generator() % (count + 1));
    std::sort(ends.begin(), ends.end());
    std::vector<std::pair<int64_t, int64_t>> parts;
    for (size_t k = 1; k < ends.size(); ++k) parts.push_back({ends[k - 1], ends[k]});
    std::shuffle(parts.begin(), parts.end(), generator);
    std::vector<std::thread> pool;
    for (const auto& part : parts) {
      const auto run = [&work, part] { work(part.first, part.second); };
      call.threads ? (void)pool.emplace_back(run) : run();
    }
    for (auto& thread : pool) thread.join();
  };
}

struct BoxIouInputs {
  Buffer boxes_a, boxes_b, upstream;
  std::unique_ptr<bool[]> valid[2];

  BoxIouInputs(const BoxIouCall& call, int64_t offset)
      : boxes_a(call.type, call.boxes[0], offset),
        boxes_b(call.type, call.boxes[1], offset),
        upstream(call.type, call.upstream, offset) {
    for (int side : {0, 1}) {
      if (call.valid[side].empty()) continue;
      valid[side].reset(new bool[call.valid[side].size()]);
      std::copy(call.valid[side].begin(), call.valid[side].end(), valid[side].get());
    }
  }
};

// What one version makes of the call, in buffers that were filled with something else before.
struct BoxIouResults {
  Buffer iou, gradient_a, gradient_b;
  int sides = kBothSides;  // of which a gradient is asked for

  static constexpr int kOnlyA = 1, kOnlyB = 2, kBothSides = 3;

#ifdef YOLOV1_CUDA_ON_HOST
  // Of a version of the CUDA kernels.
  BoxIouResults(const BoxIouCall& call, const BoxIouInputs& inputs, int64_t offset, uint8_t fill,
                int cuda_version, int sides = kBothSides)
      : iou(call.type, call.upstream.size(), offset, fill),
        gradient_a(call.type, call.boxes[0].size(), offset, fill),
        gradient_b(call.type, call.boxes[1].size(), offset, fill),
        sides(sides) {
    const BoxIouArgs args = Arguments(call, inputs);
    Buffer workspace(DType::kDouble, (BoxIouWorkspace(args) + 7) / 8, 0, fill);
    std::string error = BoxIouCuda(args, nullptr, cuda_version);
    Require(error.empty(), error);
    error = BoxIouGradientCuda(args, workspace.data(), nullptr, cuda_version);
    Require(error.empty(), error);
  }
#endif

  BoxIouResults(const BoxIouCall& call, const BoxIouInputs& inputs, int64_t offset, uint8_t fill,
                const ParallelFor& parallel, int version = 0, bool large = false,
                int sides = kBothSides)
      : iou(call.type, call.upstream.size(), offset, fill),
        gradient_a(call.type, call.boxes[0].size(), offset, fill),
        gradient_b(call.type, call.boxes[1].size(), offset, fill),
        sides(sides) {
    BoxIouArgs args = Arguments(call, inputs);
    Require(BoxIouGradientCpu(args, parallel, version), "memory for the gradient");
    // Another thread may set it otherwise in between: results are the same either way.
    StreamingBound() = large ? 0 : int64_t{1} << 60;
    Require(BoxIouCpu(args, parallel, version), "memory");
  }

  BoxIouArgs Arguments(const BoxIouCall& call, const BoxIouInputs& inputs) {
    BoxIouArgs args;
    args.config = call.config;
    args.sizes = call.sizes;
    args.type = call.type;
    args.boxes_a = inputs.boxes_a.data();
    args.boxes_b = inputs.boxes_b.data();
    args.valid_a = inputs.valid[0].get();
    args.valid_b = inputs.valid[1].get();
    args.upstream = inputs.upstream.data();
    args.gradient_a = sides & kOnlyA ? gradient_a.data() : nullptr;
    args.gradient_b = sides & kOnlyB ? gradient_b.data() : nullptr;
    args.iou = iou.data();
    return args;
  }

  void RequireSame(const BoxIouResults& other, const std::string& what) const {
    iou.RequireSame(other.iou, "iou" + what);
    RequireSameGradients(other, what);
  }
  void RequireSameGradients(const BoxIouResults& other, const std::string& what) const {
    if (sides & kOnlyA) gradient_a.RequireSame(other.gradient_a, "gradient_a" + what);
    if (sides & kOnlyB) gradient_b.RequireSame(other.gradient_b, "gradient_b" + what);
  }
};

// -------------------------------------------------------------------------------------- the checks

// Of each box of both sides, how large the numbers are that its gradient is the sum of.
class Magnitudes {
 public:
  Magnitudes(const BoxIouCall& call, const BoxIouInputs& inputs) {
    for (int side : {0, 1}) of_[side].resize(call.Boxes(side));
    WithIouKind(call.config.kind, [&](auto kind) {
      call.EachPair([&](int64_t pair, int64_t a, int64_t b, bool both_valid) {
        if (!both_valid) return;
        const auto box_a = Ready(call, inputs.boxes_a, a), box_b = Ready(call, inputs.boxes_b, b);
        const auto by =
            PairIouGradient<decltype(kind)::kind, double>(box_a, box_b, inputs.upstream[pair]);
        of_[0][a] += Size(box_a, by.a);
        of_[1][b] += Size(box_b, by.b);
      });
    });
  }

  // The same sums in two orders.
  void RequireNear(int side, const BoxIouCall& call, const Buffer& got, const Buffer& want,
                   const std::string& what) const {
    const bool is_double = call.type == DType::kDouble;
    const double terms = 50 + call.sizes.N * std::max(call.sizes.M, call.sizes.K);
    const double sums = terms * (is_double ? 1.2e-16 : 6e-8);
    const double stored = is_double                    ? 0
                          : call.type == DType::kFloat ? 1.2e-7
                          : call.type == DType::kHalf  ? 1e-3
                                                       : 8e-3;
    const double least = call.type == DType::kHalf ? 6e-8 : 0;  // float16's steps around 0
    const double most = call.type == DType::kHalf ? 65000 : INFINITY;
    for (int64_t k = 0; k < got.count(); ++k) {
      const double one = got[k], two = want[k];
      const double near = sums * of_[side][k / 4] + stored * std::abs(two) + least;
      Require(std::abs(one - two) <= near || std::min(std::abs(one), std::abs(two)) > most,
              what + ", element " + std::to_string(k) + ": " + std::to_string(one) + " for " +
                  std::to_string(two) + ", at most " + std::to_string(near) + " away");
    }
  }

 private:
  static IouBox<double> Ready(const BoxIouCall& call, const Buffer& boxes, int64_t k) {
    return MakeIouBox<double>(call.config.kind, call.config.format,
                              {boxes[4 * k], boxes[4 * k + 1], boxes[4 * k + 2], boxes[4 * k + 3]});
  }

  static double Size(const IouBox<double>& box, const IouBox<double>& by) {
    const double w = std::max(box.x1 - box.x0, 0.0), h = std::max(box.y1 - box.y0, 0.0);
    const double angle = DivideOrZero(std::abs(by.angle), w * w + h * h);
    return std::abs(by.x0) + std::abs(by.y0) + std::abs(by.x1) + std::abs(by.y1) +
           (std::abs(by.area) + angle) * (w + h);
  }

  std::vector<double> of_[2];
};

// The call with NaN wherever the kernels must not read: boxes and upstream gradients of no pair
// that counts. Requires 0 for all of them.
inline BoxIouCall WithoutUnread(const BoxIouCall& call, const BoxIouResults& results) {
  BoxIouCall out = call;
  std::vector<char> read[2];
  for (int side : {0, 1}) read[side].resize(call.Boxes(side));
  call.EachPair([&](int64_t pair, int64_t a, int64_t b, bool both_valid) {
    if (both_valid) {
      read[0][a] = read[1][b] = true;
    } else {
      out.upstream[pair] = NAN;
      Require(results.iou[pair] == 0, "the overlap with a masked box is 0");
    }
  });
  for (int side : {0, 1}) {
    const Buffer& gradient = side == 0 ? results.gradient_a : results.gradient_b;
    for (int64_t k = 0; k < gradient.count(); ++k) {
      if (read[side][k / 4]) continue;
      out.boxes[side][k] = NAN;
      Require(gradient[k] == 0, "the gradient of a box in no pair is 0");
    }
  }
  return out;
}

// Gradients that were summed in two orders, of numbers for which that makes little difference.
inline void RequireNearGradients(const BoxIouCall& call, const BoxIouInputs& inputs,
                                 const BoxIouResults& got, const BoxIouResults& want,
                                 const std::string& name) {
  if (!call.ordinary) return;
  const Magnitudes magnitudes(call, inputs);
  magnitudes.RequireNear(0, call, got.gradient_a, want.gradient_a, "gradient_a" + name);
  magnitudes.RequireNear(1, call, got.gradient_b, want.gradient_b, "gradient_b" + name);
}

// Runs the call in several ways that must agree.
inline void Check(const BoxIouCall& call) {
  const BoxIouInputs inputs(call, call.offset);
  const BoxIouResults want(call, inputs, call.offset, 0xa5, Whole);
  const std::vector<std::string> versions = BoxIouVersions();
  for (size_t version = 0; version < versions.size(); ++version) {
    const bool naive = versions[version] == "naive";  // its sums have another order
    const BoxIouResults got(call, inputs, call.offset + version, 0x5a, Parts(call),
                            static_cast<int>(version), call.large && !naive);
    const std::string name = " of version " + versions[version];
    got.iou.RequireSame(want.iou, "iou" + name);
    if (!naive) got.RequireSameGradients(want, name);
    for (int side : {BoxIouResults::kOnlyA, BoxIouResults::kOnlyB}) {
      BoxIouResults(call, inputs, call.offset, 0x5a, Parts(call), static_cast<int>(version), false,
                    side)
          .RequireSameGradients(got, name + ", asked for alone");
    }
    if (naive) RequireNearGradients(call, inputs, got, want, name);
  }
#ifdef YOLOV1_CUDA_ON_HOST
  const std::vector<std::string> cuda_versions = BoxIouCudaVersions();
  for (size_t version = 0; call.cuda && version < cuda_versions.size(); ++version) {
    const std::string name = " of CUDA version " + cuda_versions[version];
    const BoxIouResults got(call, inputs, call.offset + version, 0x5a, static_cast<int>(version));
    got.iou.RequireSame(want.iou, "iou" + name);
    RequireNearGradients(call, inputs, got, want, name);
    for (int side : {BoxIouResults::kOnlyA, BoxIouResults::kOnlyB}) {
      BoxIouResults(call, inputs, call.offset, 0x5a, static_cast<int>(version), side)
          .RequireSameGradients(got, name + ", asked for alone");
    }
  }
#endif
  const BoxIouCall erased = WithoutUnread(call, want);
  const BoxIouInputs read(erased, call.offset + 3);
#ifdef YOLOV1_CUDA_ON_HOST
  for (size_t version = 0; call.cuda && version < cuda_versions.size(); ++version) {
    const int number = static_cast<int>(version);
    BoxIouResults(erased, read, call.offset, 0x00, number)
        .RequireSame(BoxIouResults(call, inputs, call.offset, 0xa5, number),
                     " of CUDA without what is not read");
  }
#endif
  BoxIouResults(erased, read, call.offset + 5, 0x00, Parts(call))
      .RequireSame(want, " without what is not read");
}

}  // namespace yolov1
