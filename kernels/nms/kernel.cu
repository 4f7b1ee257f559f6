// Non-maximum suppression on CUDA: of each class by itself, then a class's boxes find their places
// among those of the others. What is kept, and in which order, is the CPU's to the bit.
//
// A place in an order is counted, not sorted for: how many candidates come before, of which no two
// are equal. Each thread can do that alone, there is no limit to their number, and nothing depends
// on what the GPU does first. Under a soft rule the order is found as it goes: the best one that is
// left is chosen by all threads of a block, who then multiply the scores of the others.
#include "kernels/cuda.h"
#include "kernels/nms/kernel.h"
#include "kernels/nms/rule.h"

namespace yolov1 {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;

struct Workspace {
  uint64_t* keys;  // [N, C, K]: of a class's candidates in order, then of those that are kept
  int32_t* kept;   // [N, C]: how many, at most as many as are asked for

  Workspace(const NmsArgs& args, void* memory)
      : keys(static_cast<uint64_t*>(memory)),
        kept(reinterpret_cast<int32_t*>(keys + args.images * args.classes * args.boxes)) {}
  static int64_t Bytes(const NmsArgs& args) {
    const int64_t lists = args.images * args.classes;
    return lists * args.boxes * static_cast<int64_t>(sizeof(uint64_t)) +
           lists * static_cast<int64_t>(sizeof(int32_t));
  }
};

// ------------------------------------------------------------------------------------ of one class

// 0 for what is no candidate, which no candidate's bits are: those are a NaN's.
__device__ inline uint32_t CandidateBits(float score, float threshold) {
  return score > threshold ? RisingBits(score) : 0;
}

// Writes the keys of a class's candidates in order, and returns how many there are. `scores` [K]
// are those of the class, `step` apart.
__device__ int64_t Order(const NmsArgs& args, const float* scores, int64_t step, int64_t label,
                         uint64_t* keys) {
  __shared__ uint32_t tile[kThreads];
  const float threshold = args.config.score_threshold;
  const int thread = static_cast<int>(threadIdx.x);
  int64_t candidates = 0;
  for (int64_t first = 0; first < args.boxes; first += kThreads) {
    const int64_t own = first + thread;
    const uint32_t rising = own < args.boxes ? CandidateBits(scores[own * step], threshold) : 0;
    int64_t before = 0;
    for (int64_t start = 0; start < args.boxes; start += kThreads) {
      const int64_t other = start + thread;
      __syncthreads();  // the tile before has been read
      tile[thread] = other < args.boxes ? CandidateBits(scores[other * step], threshold) : 0;
      __syncthreads();
      // Of equal scores the earlier box comes first.
      const int earlier = static_cast<int>(Min(Max(own - start, int64_t{0}), int64_t{kThreads}));
      int better = 0, any = 0;
#pragma unroll 8
      for (int k = 0; k < kThreads; ++k) {
        better += tile[k] > rising || (tile[k] == rising && k < earlier);
        any += tile[k] != 0;
      }
      before += better;
      if (first == 0) candidates += any;
    }
    if (rising != 0) keys[before] = NmsKey(rising, own * step + label);
  }
  __syncthreads();  // all have written
  return candidates;
}

// Shortens `keys` to those that are kept, and returns how many. kThreads candidates at a time: each
// first meets what was kept before, then those before it in its group. Of the group a candidate
// stays if none that stays overlaps it: that is asked of all at once and again until nothing
// changes, as there is one answer only, of which each turn makes one candidate more certain.
__device__ int64_t Suppress(const NmsArgs& args, const float* boxes, int64_t candidates,
                            uint64_t* keys) {
  __shared__ IouBox<float> tile[kThreads];
  __shared__ unsigned staying[2][kWarps];  // a bit for each of the group; in turn
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  const float threshold = args.config.iou_threshold;
  const int64_t most = args.config.max_detections;
  const auto box_of = [&](uint64_t key) {
    return NmsBox(boxes + 4 * (PlaceOf(key) / args.classes));
  };
  int64_t kept = 0;
  for (int64_t first = 0; first < candidates && kept < most; first += kThreads) {
    bool stays = first + thread < candidates;
    const uint64_t key = stays ? keys[first + thread] : 0;
    const IouBox<float> own = stays ? box_of(key) : IouBox<float>{};
    for (int64_t start = 0; start < kept; start += kThreads) {
      const int64_t left = kept - start;
      const int count = static_cast<int>(left < kThreads ? left : kThreads);
      if (thread < count) tile[thread] = box_of(keys[start + thread]);
      __syncthreads();
      for (int k = 0; stays && k < count; ++k) stays = !Suppresses(tile[k], own, threshold);
      __syncthreads();  // before the next tile is made
    }

    tile[thread] = own;
    __syncthreads();
    unsigned overlapping[kWarps] = {};  // those before it in the group
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const int earlier = thread - w * kWarp, count = !stays            ? 0
                                                      : earlier < kWarp ? earlier
                                                                        : kWarp;
#pragma unroll 4
      for (int k = 0; k < count; ++k) {
        const bool over = Suppresses(tile[w * kWarp + k], own, threshold);
        overlapping[w] |= static_cast<unsigned>(over) << k;
      }
    }
    unsigned words[kWarps] = {};
    bool still = stays, changed = true;
    for (int turn = 0; changed; turn ^= 1) {
      const unsigned of_warp = __ballot_sync(kAllLanes, still);
      if (thread % kWarp == 0) staying[turn][warp] = of_warp;
      __syncthreads();
      unsigned by = 0;
      changed = false;  // the same for all threads, who see the same words
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const unsigned word = staying[turn][w];
        changed |= word != words[w];
        words[w] = word;
        by |= word & overlapping[w];
      }
      still = stays && by == 0;
    }

    int64_t to = kept;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const unsigned before = w < warp ? kAllLanes : w == warp ? (1u << thread % kWarp) - 1 : 0;
      to += __popc(words[w] & before);
      kept += __popc(words[w]);
    }
    if (still) keys[to] = key;  // not behind its old place, which has been read
    __syncthreads();
  }
  return Min(kept, most);
}

// No candidate's key: its score would be a NaN.
constexpr uint64_t kGone = ~uint64_t{0};

// The least of all threads' keys, for each of them.
__device__ uint64_t LeastOfBlock(uint64_t key) {
  __shared__ uint64_t least[kWarps];
  for (int half = kWarp / 2; half > 0; half /= 2)
    key = Min(key, __shfl_xor_sync(kAllLanes, key, half));
  if (threadIdx.x % kWarp == 0) least[threadIdx.x / kWarp] = key;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) key = Min(key, least[w]);
  return key;
}

// The same under a soft rule, from the scores on: `keys` has those of all boxes, then of what is
// kept and behind it of the others, whose scores fall. The arguments are those of Order.
template <NmsRule rule>
__device__ int64_t SuppressSoftly(const NmsArgs& args, const float* boxes, const float* scores,
                                  int64_t step, int64_t label, uint64_t* keys) {
  const int thread = static_cast<int>(threadIdx.x);
  const auto key_of = [&](float score, int64_t place) {
    return score > args.config.score_threshold ? NmsKey(RisingBits(score), place) : kGone;
  };
  uint64_t best = kGone;  // of this thread's
  int64_t at = 0;         // where that is
  const auto put = [&](int64_t k, uint64_t key) {
    keys[k] = key;
    if (key < best) {
      best = key;
      at = k;
    }
  };
  for (int64_t k = thread; k < args.boxes; k += kThreads)
    put(k, key_of(scores[k * step], k * step + label));
  int64_t kept = 0;
  for (;; ++kept) {
    const uint64_t chosen = LeastOfBlock(best);
    if (chosen == kGone || kept == args.config.max_detections) break;
    if (best == chosen) {
      keys[at] = keys[kept];
      keys[kept] = chosen;
    }
    __syncthreads();
    const IouBox<float> by = NmsBox(boxes + 4 * (PlaceOf(chosen) / args.classes));
    best = kGone;
    for (int64_t k = kept + 1 + thread; k < args.boxes; k += kThreads) {
      const uint64_t key = keys[k];
      if (key == kGone) continue;
      const int64_t place = PlaceOf(key);
      const IouBox<float> own = NmsBox(boxes + 4 * (place / args.classes));
      put(k, key_of(Decayed<rule>(PositiveScoreOf(key), by, own, args.config), place));
    }
  }
  __syncthreads();  // all have read what the next class's keys are compared in
  return kept;
}

template <NmsRule rule>
__global__ void __launch_bounds__(kThreads)
    KeepOfClass(const NmsArgs args, const Workspace workspace, const int64_t lists) {
  for (int64_t list = blockIdx.x; list < lists; list += gridDim.x) {
    const int64_t image = list / args.classes, label = list % args.classes;
    const float* const scores = args.scores + image * args.boxes * args.classes + label;
    uint64_t* const keys = workspace.keys + list * args.boxes;
    const float* const boxes = args.boxes_xyxy + image * args.boxes * 4;
    int64_t kept;
    if constexpr (rule == NmsRule::kHard) {
      const int64_t candidates = Order(args, scores, args.classes, label, keys);
      kept = Suppress(args, boxes, candidates, keys);
    } else {
      kept = SuppressSoftly<rule>(args, boxes, scores, args.classes, label, keys);
    }
    if (threadIdx.x == 0) workspace.kept[list] = static_cast<int32_t>(kept);
  }
}

// --------------------------------------------------------------------------------- of all classes

// How many of `keys`, which rise, are less.
__device__ inline int64_t CountLess(const uint64_t* keys, int64_t count, uint64_t key) {
  int64_t low = 0;
  while (low < count) {
    const int64_t middle = low + (count - low) / 2;
    if (keys[middle] < key) {
      low = middle + 1;
    } else {
      count = middle;
    }
  }
  return low;
}

__device__ void Write(const NmsArgs& args, int64_t image, uint64_t key, int64_t to) {
  const int64_t place = PlaceOf(key);
  const int64_t box = image * args.boxes + place / args.classes;
  to += image * args.config.max_detections;
  WriteCorners(NmsBox(args.boxes_xyxy + 4 * box), args.config.clip, args.found_boxes + 4 * to);
  args.found_scores[to] = args.config.rule == NmsRule::kHard
                              ? args.scores[image * args.boxes * args.classes + place]
                              : PositiveScoreOf(key);
  args.labels[to] = static_cast<int32_t>(place % args.classes);
}

// A block for each class of each image, and one for an image without any: it writes the class's
// boxes where they belong, a warp each, whose lanes count in the lists of the classes; and a share
// of the zeros behind the last.
__global__ void __launch_bounds__(kThreads)
    PlaceOfClass(const NmsArgs args, const Workspace workspace, const int64_t shares,
                 const int64_t blocks) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const int64_t C = args.classes, K = args.boxes, M = args.config.max_detections;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t image = block / shares, share = block % shares;
    const uint64_t* const keys = workspace.keys + image * C * K;
    const int32_t* const kept = workspace.kept + image * C;
    int64_t all = 0;
    for (int64_t c = lane; c < C; c += kWarp) all += kept[c];
    all = WarpSum(all);
    const int64_t own = share < C ? kept[share] : 0;
    for (int64_t k = warp; k < own; k += kWarps) {
      const uint64_t key = keys[share * K + k];
      int64_t before = 0;
      for (int64_t c = lane; c < C; c += kWarp) before += CountLess(keys + c * K, kept[c], key);
      before = WarpSum(before);
      if (before >= M) break;  // and so are those behind it
      if (lane == 0) Write(args, image, key, before);
    }
    const int64_t found = Min(all, M), step = shares * kThreads;
    if (share == 0 && thread == 0) args.count[image] = static_cast<int32_t>(found);
    for (int64_t k = found + share * kThreads + thread; k < M; k += step) {
      args.found_scores[image * M + k] = 0;
      args.labels[image * M + k] = 0;
    }
    for (int64_t k = 4 * found + share * kThreads + thread; k < 4 * M; k += step)
      args.found_boxes[image * M * 4 + k] = 0;
  }
}

}  // namespace

// -------------------------------------------------------------------------------------- launchers

int64_t NmsWorkspace(const NmsArgs& args) { return Workspace::Bytes(args); }

std::string NmsCuda(const NmsArgs& args, void* workspace, void* stream) {
  if (args.images == 0) return "";
  const Workspace lists(args, workspace);
  const int64_t count = args.images * args.classes;
  if (count > 0) {
    const auto keep = args.config.rule == NmsRule::kHard     ? KeepOfClass<NmsRule::kHard>
                      : args.config.rule == NmsRule::kLinear ? KeepOfClass<NmsRule::kLinear>
                                                             : KeepOfClass<NmsRule::kGaussian>;
    std::string error = Launch("non_max_suppression (classes)", keep, Blocks(count), kThreads, 0,
                               stream, args, lists, count);
    if (!error.empty()) return error;
  }
  const int64_t shares = std::max<int64_t>(args.classes, 1);
  const int64_t blocks = args.images * shares;
  return Launch("non_max_suppression (places)", PlaceOfClass, Blocks(blocks), kThreads, 0, stream,
                args, lists, shares, blocks);
}

}  // namespace yolov1
