// One call of the YOLO loss kernel and what must hold for any input. The values of the loss are not
// checked here: tests/ops holds them against the NumPy reference (loss_numpy.py).
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "kernels/yolo_loss/kernel.h"
#include "tests/native/buffers.h"
#include "tests/native/yolo_loss_objects.h"

namespace yolov1 {

struct LossCall {
  YoloLossConfig config;
  int64_t images = 0;
  DType type = DType::kFloat, target_type = DType::kFloat;
  std::vector<double> predictions, targets;
  bool of_boxes = false;  // the kernel gets the objects, of which `targets` are encoded
  Objects objects;
  bool in_place = false;  // the versions write the gradient over the predictions
  int64_t offset = 0;     // of every buffer, in elements
  int64_t pieces = 1;     // into which the batch is split
  bool threads = false;   // each piece on its own
  // Of a batch that does not stay in the caches, which may be handled in another way: the kernel is
  // told of more images than there are, and asked only for those.
  bool large = false;
  bool cuda = false;  // also the CUDA kernels, which take longer here (tests/native/cuda/)
};

struct Outputs {
  Buffer loss, terms, gradient;

  Outputs(const LossCall& call, int64_t offset, uint8_t fill)
      : loss(SumType(call), call.images, offset, fill),
        terms(SumType(call), call.images * kTerms, offset, fill),
        gradient(call.type, call.predictions.size(), offset, fill) {}

  static DType SumType(const LossCall& call) {
    return call.type == DType::kDouble ? DType::kDouble : DType::kFloat;
  }
};

struct Inputs {
  Buffer predictions, targets, boxes, labels, valid;

  explicit Inputs(const LossCall& call)
      : predictions(call.type, call.predictions, call.offset),
        targets(call.target_type, call.targets, call.offset),
        boxes(DType::kFloat, call.objects.boxes, call.offset),
        labels(DType::kInt32, call.objects.labels, call.offset),
        valid(call.objects.is_mask ? DType::kBool : DType::kInt32, call.objects.valid,
              call.offset) {}
};

inline YoloLossArgs Arguments(const LossCall& call, const Inputs& in, Outputs* out, bool gradient) {
  YoloLossArgs args;
  args.config = call.config;
  args.images = call.large ? int64_t{1} << 30 : call.images;
  args.type = call.type;
  args.target_type = call.target_type;
  args.predictions = in.predictions.data();
  // What is empty has no memory, as in TensorFlow.
  const auto data = [](const Buffer& of) { return of.count() > 0 ? of.data() : nullptr; };
  if (call.of_boxes)
    SetBoxes(call.objects.most, data(in.boxes), data(in.labels), data(in.valid),
             call.objects.is_mask, &args);
  else
    args.targets = in.targets.data();
  args.loss = out->loss.data();
  args.terms = out->terms.data();
  args.gradient = gradient ? out->gradient.data() : nullptr;
  return args;
}

// The batch in pieces, the last one first, or all at once on threads.
inline void RunPieces(const LossCall& call, const YoloLossArgs& args, int version) {
  std::vector<std::thread> pool;
  for (int64_t k = call.pieces; k-- > 0;) {
    const int64_t begin = call.images * k / call.pieces;
    const int64_t end = call.images * (k + 1) / call.pieces;
    const auto run = [&args, begin, end, version] { YoloLossCpu(args, begin, end, version); };
    call.threads ? (void)pool.emplace_back(run) : run();
  }
  for (auto& thread : pool) thread.join();
}

// The call with NaN wherever the loss must not read: classes and boxes of empty cells, and boxes
// that are no objects.
inline LossCall WithoutUnread(const LossCall& call) {
  LossCall out = call;
  out.objects.EraseUnread(call.images);
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

// How far a softmax whose sums have another order may change a class's term or gradient. (Of one or
// two classes there is but one order; and targets of any size leave no bound.)
inline double Slack(const LossCall& call, double factor) {
  if (call.config.activations.classes != Activation::kSoftmax || call.config.grid.C <= 2) return 0;
  if (!call.of_boxes) return INFINITY;
  const LossSemantics& s = call.config.semantics;
  const double slack = s.weight_class * s.factor * factor;
  if (!(slack < 1e30)) return INFINITY;  // or where infinity begins
  return slack * (call.type == DType::kDouble ? 1e-13 : 1e-5);
}

// Every version of the kernel, in pieces and at other alignments, with outputs that were filled
// with something else, so that what is not written shows, or that are the predictions.
inline void CheckVersions(const LossCall& call, const Inputs& in, const Outputs& want) {
  const std::vector<std::string> versions = YoloLossVersions();
  for (size_t version = 0; version < versions.size(); ++version) {
    Outputs got(call, call.offset + version, 0x5a);
    YoloLossArgs args = Arguments(call, in, &got, true);
    if (call.in_place) {
      got.gradient.CopyFrom(in.predictions);
      args.predictions = args.gradient;
    }
    RunPieces(call, args, static_cast<int>(version));
    const std::string name = " of version " + versions[version];
    if (versions[version] != "naive") {
      got.gradient.RequireSame(want.gradient, "the gradient" + name);
      got.loss.RequireSame(want.loss, "the loss" + name);
      got.terms.RequireSame(want.terms, "the terms" + name);
      continue;
    }
    // Its sums have another order.
    const double slack = Slack(call, 2 * args.upstream());
    const double slack_of_sums = Slack(call, static_cast<double>(call.config.grid.cells()));
    if (slack == 0) got.gradient.RequireSame(want.gradient, "the gradient" + name);
    if (slack_of_sums == INFINITY) continue;
    got.gradient.RequireNear(want.gradient, "the gradient" + name, slack + 1e-36);
    got.loss.RequireNear(want.loss, "the loss" + name, slack_of_sums + 1e-36);
    got.terms.RequireNear(want.terms, "the terms" + name, slack_of_sums + 1e-36);
  }
}

// The kernel finds of objects as boxes what it does of the targets that are encoded of them.
inline void CheckEncoded(LossCall call, const Inputs& in, const Outputs& want) {
  call.of_boxes = false;
  Outputs got(call, call.offset, 0x5a);
  YoloLossCpu(Arguments(call, in, &got, true), 0, call.images);
  got.loss.RequireSame(want.loss, "the loss of encoded boxes");
  got.terms.RequireSame(want.terms, "the terms of encoded boxes");
  got.gradient.RequireSame(want.gradient, "the gradient of encoded boxes");
}

#ifdef YOLOV1_CUDA_ON_HOST
// Every version of the CUDA kernel against the CPU's, and what comes from above on its gradient. It
// takes encoded targets, and refuses what is not activated.
inline void CheckCuda(LossCall call, const Inputs& in) {
  call.large = call.of_boxes = false;
  const DType sums = Outputs::SumType(call);
  Outputs want(call, call.offset, 0xa5);
  const YoloLossArgs on_cpu = Arguments(call, in, &want, true);
  YoloLossCpu(on_cpu, 0, call.images);
  Buffer want_mean(sums, 1, call.offset, 0xa5);
  YoloLossMean(on_cpu, want_mean.data());
  const std::vector<std::string> versions = YoloLossCudaVersions();
  for (size_t version = 0; version < versions.size(); ++version) {
    for (bool with_gradient : {true, false}) {
      const std::string name = " of CUDA version " + versions[version];
      Outputs got(call, call.offset + 1 + version, 0x5a);  // lying otherwise than the inputs
      Buffer mean(sums, 1, call.offset, 0x5a);
      const std::string error = YoloLossCuda(Arguments(call, in, &got, with_gradient), mean.data(),
                                             nullptr, static_cast<int>(version));
      if (!call.config.activations.linear()) {
        Require(error != "", "raw outputs are refused");
        continue;
      }
      Require(error.empty(), error);
      got.loss.RequireNear(want.loss, "the loss" + name);
      got.terms.RequireNear(want.terms, "the terms" + name);
      if (call.config.mean()) mean.RequireNear(want_mean, "the mean" + name);
      Require(call.config.mean() || mean.HoldsOnly(0x5a), "no mean where none is asked for");
      if (with_gradient) got.gradient.RequireSame(want.gradient, "the gradient" + name);
      Require(with_gradient || got.gradient.HoldsOnly(0x5a), "no gradient is written without one");
    }
  }
  YoloLossScaleArgs scale;
  scale.type = call.type;
  scale.images = call.images;
  scale.size = call.config.grid.flat_size();
  const Buffer ones(sums, std::vector<double>(call.images, 1), call.offset);
  // Lying as the gradient does between multiples of 16 bytes, or otherwise.
  Buffer product(call.type, call.predictions.size(), call.offset + call.pieces % 2, 0x5a);
  scale.upstream = ones.data();
  scale.gradient = want.gradient.data();
  scale.product = product.data();
  Require(YoloLossScaleCuda(scale, nullptr) == "", "a launch");
  product.RequireSame(want.gradient, "the gradient times one");
  const Buffer minus_two(sums, {-2}, call.offset);
  scale.scalar = true;
  scale.upstream = minus_two.data();
  scale.gradient = product.data();  // in place
  Require(YoloLossScaleCuda(scale, nullptr) == "", "a launch");
  for (int64_t k = 0; k < product.count(); ++k) {
    const double doubled = -2 * want.gradient[k];
    const double most = call.type == DType::kHalf     ? 65504
                        : call.type == DType::kDouble ? 1e308
                                                      : 3e38;
    Require(std::isnan(doubled) ? std::isnan(product[k])
                                : product[k] == doubled || std::abs(doubled) > most,
            "the gradient times -2");
  }
}
#endif

// Runs the call in several ways that must agree.
inline void Check(const LossCall& call) {
  const Inputs in(call);
  Outputs whole(call, call.offset, 0xa5);
  YoloLossArgs args = Arguments(call, in, &whole, true);
  YoloLossCpu(args, 0, call.images);
  CheckVersions(call, in, whole);
  if (call.of_boxes) CheckEncoded(call, in, whole);
#ifdef YOLOV1_CUDA_ON_HOST
  if (call.cuda) CheckCuda(call, in);
#endif
  Require(YoloLossCpuCost(args) > 0, "a positive cost");
  args.images = call.images;
  Buffer mean(Outputs::SumType(call), 1, call.offset, 0xa5);
  YoloLossMean(args, mean.data());
  Require(call.images > 0 || mean.HoldsOnly(0), "an empty batch has the mean 0");

  Outputs forward(call, call.offset, 0xff);
  YoloLossCpu(Arguments(call, in, &forward, false), 0, call.images);
  forward.loss.RequireSame(whole.loss, "the loss without a gradient");
  forward.terms.RequireSame(whole.terms, "the terms without a gradient");
  Require(forward.gradient.HoldsOnly(0xff), "no gradient is written where none is asked for");

  const LossCall erased = WithoutUnread(call);
  const Inputs read(erased);
  Outputs again(call, call.offset, 0x00);
  YoloLossCpu(Arguments(erased, read, &again, true), 0, call.images);
  again.loss.RequireSame(whole.loss, "the loss without what it does not read");
  again.terms.RequireSame(whole.terms, "the terms without what they do not read");
  again.gradient.RequireSame(whole.gradient, "the gradient without what it does not read");
}

}  // namespace yolov1
