// One call of the YOLO loss kernel and what must hold for any input. The values of the loss are not
// checked here: tests/ops holds them against a NumPy twin.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "kernels/yolo_loss/kernel.h"
#include "tests/native/buffers.h"

namespace yolov1 {

struct Call {
  YoloLossConfig config;
  int64_t images = 0;
  DType type = DType::kFloat, target_type = DType::kFloat;
  std::vector<double> predictions, targets;
  int64_t offset = 0;    // of every buffer, in elements
  int64_t pieces = 1;    // into which the batch is split
  bool threads = false;  // each piece on its own
  // Of a batch that does not stay in the caches, which may be handled in another way: the kernel is
  // told of more images than there are, and asked only for those.
  bool large = false;
};

struct Outputs {
  Buffer loss, terms, gradient;

  Outputs(const Call& call, int64_t offset, uint8_t fill)
      : loss(SumType(call), call.images, offset, fill),
        terms(SumType(call), call.images * kTerms, offset, fill),
        gradient(call.type, call.predictions.size(), offset, fill) {}

  static DType SumType(const Call& call) {
    return call.type == DType::kDouble ? DType::kDouble : DType::kFloat;
  }
};

inline YoloLossArgs Arguments(const Call& call, const Buffer& predictions, const Buffer& targets,
                              Outputs* out, bool gradient) {
  YoloLossArgs args;
  args.config = call.config;
  args.images = call.large ? int64_t{1} << 30 : call.images;
  args.type = call.type;
  args.target_type = call.target_type;
  args.predictions = predictions.data();
  args.targets = targets.data();
  args.loss = out->loss.data();
  args.terms = out->terms.data();
  args.gradient = gradient ? out->gradient.data() : nullptr;
  return args;
}

// The batch in pieces, the last one first, or all at once on threads.
inline void RunPieces(const Call& call, const YoloLossArgs& args, int version) {
  std::vector<std::thread> pool;
  for (int64_t k = call.pieces; k-- > 0;) {
    const int64_t begin = call.images * k / call.pieces;
    const int64_t end = call.images * (k + 1) / call.pieces;
    const auto run = [&args, begin, end, version] { YoloLossCpu(args, begin, end, version); };
    call.threads ? (void)pool.emplace_back(run) : run();
  }
  for (auto& thread : pool) thread.join();
}

// The call with NaN wherever the loss must not read: classes and boxes of empty cells.
inline Call WithoutUnread(const Call& call) {
  Call out = call;
  const Grid& grid = call.config.grid;
  const CellStrides strides(grid, call.config.layout);
  const auto erase = [](double* begin, int64_t count) { std::fill_n(begin, count, NAN); };
  for (int64_t image = 0; image < call.images; ++image) {
    for (int64_t cell = 0; cell < grid.cells(); ++cell) {
      double* target =
          out.targets.data() + image * grid.flat_target_size() + cell * grid.target_channels();
      uint8_t flag[8];
      Store(call.target_type, target[grid.target_object_channel()], flag);
      if (Load(call.target_type, flag) != 0) continue;
      const auto predicted = strides.At(out.predictions.data() + image * grid.flat_size(), cell);
      erase(predicted.classes, grid.C);
      erase(predicted.boxes, 4 * grid.B);
      erase(target, grid.C);
      erase(target + grid.target_box_channel(), 4);
    }
  }
  return out;
}

// Every version of the kernel, in pieces and at other alignments, with outputs that were filled
// with something else, so that what is not written shows.
inline void CheckVersions(const Call& call, const Buffer& predictions, const Buffer& targets,
                          const Outputs& want) {
  const std::vector<std::string> versions = YoloLossVersions();
  for (size_t version = 0; version < versions.size(); ++version) {
    Outputs got(call, call.offset + version, 0x5a);
    RunPieces(call, Arguments(call, predictions, targets, &got, true), static_cast<int>(version));
    const std::string name = " of version " + versions[version];
    got.gradient.RequireSame(want.gradient, "the gradient" + name);
    if (versions[version] == "naive") {  // its sums have another order
      got.loss.RequireNear(want.loss, "the loss" + name);
      got.terms.RequireNear(want.terms, "the terms" + name);
    } else {
      got.loss.RequireSame(want.loss, "the loss" + name);
      got.terms.RequireSame(want.terms, "the terms" + name);
    }
  }
}

// Runs the call in several ways that must agree.
inline void Check(const Call& call) {
  const Buffer predictions(call.type, call.predictions, call.offset);
  const Buffer targets(call.target_type, call.targets, call.offset);
  Outputs whole(call, call.offset, 0xa5);
  YoloLossArgs args = Arguments(call, predictions, targets, &whole, true);
  YoloLossCpu(args, 0, call.images);
  CheckVersions(call, predictions, targets, whole);
  Require(YoloLossCpuCost(args) > 0, "a positive cost");
  args.images = call.images;
  Buffer mean(Outputs::SumType(call), 1, call.offset, 0xa5);
  YoloLossMean(args, mean.data());
  Require(call.images > 0 || mean.HoldsOnly(0), "an empty batch has the mean 0");

  Outputs forward(call, call.offset, 0xff);
  YoloLossCpu(Arguments(call, predictions, targets, &forward, false), 0, call.images);
  forward.loss.RequireSame(whole.loss, "the loss without a gradient");
  forward.terms.RequireSame(whole.terms, "the terms without a gradient");
  Require(forward.gradient.HoldsOnly(0xff), "no gradient is written where none is asked for");

  const Call erased = WithoutUnread(call);
  const Buffer read(call.type, erased.predictions, call.offset);
  const Buffer read_targets(call.target_type, erased.targets, call.offset);
  Outputs again(call, call.offset, 0x00);
  YoloLossCpu(Arguments(call, read, read_targets, &again, true), 0, call.images);
  again.loss.RequireSame(whole.loss, "the loss without what it does not read");
  again.terms.RequireSame(whole.terms, "the terms without what they do not read");
  again.gradient.RequireSame(whole.gradient, "the gradient without what it does not read");
}

}  // namespace yolov1
