// Shares a loop out among the threads of a pool, whoever's pool it is.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace yolov1 {

// Runs work(begin, end) over parts of [0, count) on the calling thread and on up to `threads` - 1
// that schedule(function) brings. `cost` is the nanoseconds that one unit takes.
//
// Parts are taken by whoever is free, not handed out beforehand: waking a thread takes as long as a
// small batch, and the caller must not wait for one that has not begun. It could also wait for
// ever, being itself the last free thread of the pool.
template <typename Schedule, typename Work>
void ShareOut(int64_t threads, int64_t count, int64_t cost, Schedule schedule, Work work) {
  // Nanoseconds of work that are worth a thread. Measured with two on two cores, against one: where
  // both cores are free, 22 us of work took 1.3 times as long, 33 us 1.05 times, 44 us 0.92 times
  // and 88 us 0.77 times, as a thread that sleeps takes about 15 us to wake; where each core has
  // seven others waiting, up to 1.9 times on average, since whoever has begun a part may lose its
  // core.
  constexpr int64_t kLeastCost = 20000;
  threads = std::min(threads, count * cost / kLeastCost);
  if (threads <= 1) return work(int64_t{0}, count);
  // A few parts for each thread, as some start late; of 8 units or a multiple where that many are
  // cheap, so that most parts end where a cache line does.
  int64_t size = std::max<int64_t>(1, count / (4 * threads));
  if (size > 8) size -= size % 8;
  struct Progress {
    std::atomic<int64_t> begun{0}, done{0};  // units
  };
  const auto progress = std::make_shared<Progress>();
  const auto run = [=] {
    for (int64_t begin; (begin = progress->begun.fetch_add(size)) < count;) {
      const int64_t end = std::min(begin + size, count);
      work(begin, end);
      progress->done.fetch_add(end - begin);
    }
  };
  for (int64_t k = 1; k < threads; ++k) schedule(run);
  run();
  while (progress->done.load() < count) std::this_thread::yield();
}

// What is wrong in the first of a loop's parts that complains, whatever the threads.
class FirstComplaint {
 public:
  // Of the part that begins at `begin`: "", or what is wrong.
  void Add(int64_t begin, std::string complaint) {
    if (complaint.empty()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (begin >= begin_) return;
    begin_ = begin;
    text_ = std::move(complaint);
  }
  const std::string& text() const { return text_; }

 private:
  std::mutex mutex_;
  int64_t begin_ = std::numeric_limits<int64_t>::max();
  std::string text_;
};

}  // namespace yolov1
