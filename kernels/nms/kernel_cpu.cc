// Non-maximum suppression on the CPU, all classes of an image in one pass: the candidates of every
// class are sorted together by falling score, and each that no kept box of its class overlaps is
// kept. They are kept in the order of the result, so the pass ends at the last one asked for. Under
// a soft rule the order is not known beforehand: of every class the best one left stands ready.
#include <algorithm>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "kernels/nms/kernel.h"
#include "kernels/nms/rule.h"

namespace yolov1 {
namespace {

// Zeros behind what was found in an image.
void FillUp(const NmsArgs& args, int64_t image, int64_t kept) {
  const int64_t M = args.config.max_detections;
  args.count[image] = static_cast<int32_t>(kept);
  std::fill(args.found_boxes + (image * M + kept) * 4, args.found_boxes + (image + 1) * M * 4,
            0.0f);
  std::fill(args.found_scores + image * M + kept, args.found_scores + (image + 1) * M, 0.0f);
  std::fill(args.labels + image * M + kept, args.labels + (image + 1) * M, 0);
}

// Works through images one after another, in memory that it takes once.
class Suppression {
 public:
  explicit Suppression(const NmsArgs& args)
      : args_(args),
        x0_(args.boxes),
        y0_(args.boxes),
        x1_(args.boxes),
        y1_(args.boxes),
        area_(args.boxes),
        row_of_(args.boxes),
        rows_(new uint8_t[std::min(args.boxes, args.config.max_detections) * args.boxes]),
        gone_(args.boxes * args.classes),
        keys_(new uint64_t[gone_.size()]),
        other_keys_(new uint64_t[gone_.size()]) {}

  void Run(int64_t image) {
    const int64_t K = args_.boxes, C = args_.classes, M = args_.config.max_detections;
    const float* scores = args_.scores + image * K * C;
    float* found_boxes = args_.found_boxes + image * M * 4;
    float* found_scores = args_.found_scores + image * M;
    int32_t* labels = args_.labels + image * M;

    ReadBoxes(args_.boxes_xyxy + image * K * 4);
    const int64_t candidates = ReadScores(scores);
    const uint64_t* keys = Sorted(candidates);
    int64_t kept = 0;
    for (int64_t i = 0; i < candidates && kept < M; ++i) {
      const int64_t place = PlaceOf(keys[i]);
      const int64_t box = place / C, label = place % C;
      uint8_t* gone = gone_.data() + label * K;
      if (gone[box]) continue;
      const uint8_t* row = Overlaps(box);
      for (int64_t k = 0; k < K; ++k) gone[k] |= row[k];
      WriteCorners({x0_[box], y0_[box], x1_[box], y1_[box], 0, 0}, args_.config.clip,
                   found_boxes + 4 * kept);
      found_scores[kept] = scores[place];
      labels[kept] = static_cast<int32_t>(label);
      ++kept;
    }
    FillUp(args_, image, kept);
  }

 private:
  void ReadBoxes(const float* boxes_xyxy) {
    for (int64_t k = 0; k < args_.boxes; ++k) {
      const IouBox<float> box = NmsBox(boxes_xyxy + 4 * k);
      x0_[k] = box.x0;
      y0_[k] = box.y0;
      x1_[k] = box.x1;
      y1_[k] = box.y1;
      area_[k] = box.area;
    }
    std::fill(row_of_.begin(), row_of_.end(), -1);
    rows_used_ = 0;
  }

  // Which boxes go when `box` is kept, [K]: found when it is kept for the first class, so that no
  // more rows are made, and no more of their memory is touched, than there are boxes to find.
  const uint8_t* Overlaps(int64_t box) {
    const int64_t K = args_.boxes;
    if (row_of_[box] >= 0) return rows_.get() + row_of_[box] * K;
    row_of_[box] = rows_used_++;
    uint8_t* row = rows_.get() + row_of_[box] * K;
    const IouBox<float> kept = {x0_[box], y0_[box], x1_[box], y1_[box], area_[box], 0};
    const float threshold = args_.config.iou_threshold;
    const float *x0 = x0_.data(), *y0 = y0_.data(), *x1 = x1_.data(), *y1 = y1_.data();
    const float* area = area_.data();
    for (int64_t k = 0; k < K; ++k) {  // becomes vector code
      const IouBox<float> other = {x0[k], y0[k], x1[k], y1[k], area[k], 0};
      row[k] = Suppresses(kept, other, threshold);
    }
    return row;
  }

  // Fills keys_, which rise as the score falls, then by box and class; returns how many.
  int64_t ReadScores(const float* scores) {
    const int64_t K = args_.boxes, C = args_.classes;
    const float threshold = args_.config.score_threshold;
    std::fill(gone_.begin(), gone_.end(), 0);
    int64_t count = 0;
    for (int64_t k = 0; k < K; ++k) {
      bool any = false;  // most boxes have no candidate; and this loop becomes vector code
      for (int64_t c = 0; c < C; ++c) any |= scores[k * C + c] > threshold;
      if (!any) continue;
      for (int64_t place = k * C; place < (k + 1) * C; ++place) {
        const float score = scores[place];
        keys_[count] = NmsKey(RisingBits(score), place);
        count += score > threshold;  // written in any case: a branch would be guessed wrong
      }
    }
    return count;
  }

  // The keys in rising order: by the bytes of their upper half, as the lower one is in order, and
  // that is kept. Of 1,960 keys std::sort takes 60 microseconds, this 5.
  const uint64_t* Sorted(int64_t count) {
    if (count < 128) {
      std::sort(keys_.get(), keys_.get() + count);
      return keys_.get();
    }
    uint64_t *from = keys_.get(), *to = other_keys_.get();
    uint32_t places[4][256] = {};
    const auto byte = [](uint64_t key, int pass) { return key >> (32 + 8 * pass) & 255; };
    for (int64_t i = 0; i < count; ++i)
      for (int pass = 0; pass < 4; ++pass) ++places[pass][byte(from[i], pass)];
    for (int pass = 0; pass < 4; ++pass, std::swap(from, to)) {
      uint32_t before = 0;
      for (uint32_t& place : places[pass]) before += std::exchange(place, before);
      for (int64_t i = 0; i < count; ++i) to[places[pass][byte(from[i], pass)]++] = from[i];
    }
    return from;
  }

  const NmsArgs& args_;
  std::vector<float> x0_, y0_, x1_, y1_, area_;  // [K]
  std::vector<int64_t> row_of_;                  // [K]: a box's row of rows_; -1: not yet
  std::unique_ptr<uint8_t[]> rows_;              // [min(K, M), K]
  int64_t rows_used_ = 0;
  std::vector<uint8_t> gone_;                      // [C, K]
  std::unique_ptr<uint64_t[]> keys_, other_keys_;  // [K * C]
};

// The same under a soft rule. A class's candidates that are left lie side by side; what is kept, or
// scores too little by now, is squeezed out while the best one of the others is looked for.
template <NmsRule rule>
class SoftSuppression {
 public:
  explicit SoftSuppression(const NmsArgs& args)
      : args_(args),
        numbers_(new float[kNumbers * args.boxes * args.classes]),
        boxes_(new uint32_t[args.boxes * args.classes]),
        classes_(args.classes) {}

  void Run(int64_t image) {
    const int64_t K = args_.boxes, C = args_.classes, M = args_.config.max_detections;
    const float* boxes_xyxy = args_.boxes_xyxy + image * K * 4;
    for (int64_t c = 0; c < C; ++c) Read(boxes_xyxy, args_.scores + image * K * C + c, c);
    int64_t kept = 0;
    for (; kept < M; ++kept) {
      int64_t label = -1;
      for (int64_t c = 0; c < C; ++c)
        if (classes_[c].left > 0 && (label < 0 || IsBetter(classes_[c], classes_[label])))
          label = c;
      if (label < 0) break;
      const int64_t to = image * M + kept;
      const IouBox<float> box = classes_[label].best;
      WriteCorners(box, args_.config.clip, args_.found_boxes + 4 * to);
      args_.found_scores[to] = classes_[label].score;
      args_.labels[to] = static_cast<int32_t>(label);
      TakeBest(label);
    }
    FillUp(args_, image, kept);
  }

 private:
  enum { kX0, kY0, kX1, kY1, kArea, kScore, kNumbers };

  struct Class {
    int64_t left = 0;   // candidates
    int64_t place = 0;  // of the best one among them
    uint32_t box = 0;   // its number
    float score = 0;
    IouBox<float> best = {};
  };

  static bool IsBetter(const Class& a, const Class& b) {  // of a higher label than b
    return a.score > b.score || (a.score == b.score && a.box < b.box);
  }

  float* Numbers(int64_t label, int kind) {  // [K]
    return numbers_.get() + (label * kNumbers + kind) * args_.boxes;
  }

  void Read(const float* boxes_xyxy, const float* scores, int64_t label) {
    int64_t count = 0;
    for (int64_t k = 0; k < args_.boxes; ++k) {
      const float score = scores[k * args_.classes];
      if (!(score > args_.config.score_threshold)) continue;
      const IouBox<float> box = NmsBox(boxes_xyxy + 4 * k);
      const float numbers[] = {box.x0, box.y0, box.x1, box.y1, box.area, score};
      for (int kind = 0; kind < kNumbers; ++kind) Numbers(label, kind)[count] = numbers[kind];
      boxes_[label * args_.boxes + count++] = static_cast<uint32_t>(k);
    }
    classes_[label].left = count;
    Squeeze(label, -1);
  }

  // Takes the best one of a class away, and from the scores of the others.
  void TakeBest(int64_t label) {
    const IouBox<float> kept = classes_[label].best;
    const NmsConfig config = args_.config;
    const int64_t count = classes_[label].left;
    const float *x0 = Numbers(label, kX0), *y0 = Numbers(label, kY0);
    const float *x1 = Numbers(label, kX1), *y1 = Numbers(label, kY1);
    const float* area = Numbers(label, kArea);
    float* score = Numbers(label, kScore);
    for (int64_t k = 0; k < count; ++k)  // becomes vector code
      score[k] = Decayed<rule>(score[k], kept, {x0[k], y0[k], x1[k], y1[k], area[k], 0}, config);
    Squeeze(label, classes_[label].place);
  }

  // Leaves of a class what scores enough, but for the one at a place, and finds the best of it. The
  // last one takes the place of what goes.
  void Squeeze(int64_t label, int64_t without) {
    Class& own = classes_[label];
    float* numbers[kNumbers];
    for (int kind = 0; kind < kNumbers; ++kind) numbers[kind] = Numbers(label, kind);
    uint32_t* boxes = boxes_.get() + label * args_.boxes;
    float* score = numbers[kScore];
    if (without >= 0) score[without] = -1;
    own.score = -1;
    for (int64_t k = 0; k < own.left;) {
      if (!(score[k] > args_.config.score_threshold)) {
        const int64_t last = --own.left;
        for (float* of_kind : numbers) of_kind[k] = of_kind[last];
        boxes[k] = boxes[last];
        continue;
      }
      if (score[k] > own.score || (score[k] == own.score && boxes[k] < boxes[own.place])) {
        own.score = score[k];
        own.place = k;
      }
      ++k;
    }
    if (own.left == 0) return;
    const int64_t k = own.place;
    own.box = boxes[k];
    own.best = {numbers[kX0][k], numbers[kY0][k],   numbers[kX1][k],
                numbers[kY1][k], numbers[kArea][k], 0};
  }

  const NmsArgs& args_;
  std::unique_ptr<float[]> numbers_;   // [C, kNumbers, K]
  std::unique_ptr<uint32_t[]> boxes_;  // [C, K]
  std::vector<Class> classes_;
};

template <typename Kind>
bool RunOn(const NmsArgs& args, int64_t begin, int64_t end) {
  try {
    Kind suppression(args);
    for (int64_t image = begin; image < end; ++image) suppression.Run(image);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

bool NmsCpu(const NmsArgs& args, int64_t begin, int64_t end) {
  switch (args.config.rule) {
    case NmsRule::kHard:
      return RunOn<Suppression>(args, begin, end);
    case NmsRule::kLinear:
      return RunOn<SoftSuppression<NmsRule::kLinear>>(args, begin, end);
    case NmsRule::kGaussian:
      return RunOn<SoftSuppression<NmsRule::kGaussian>>(args, begin, end);
  }
  return false;  // not reached
}

int64_t NmsCpuCost(const NmsArgs& args) {
  // About what an image takes in which a third of the scores pass the threshold.
  const int64_t scores = args.boxes * args.classes;
  if (args.config.rule == NmsRule::kHard) return 5 * scores + 1;
  return 5 * scores + args.boxes * std::min(scores, args.config.max_detections) + 1;
}

}  // namespace yolov1
