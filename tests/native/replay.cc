// The fuzz target without a fuzzer: on files given as arguments, such as those that `make fuzz`
// leaves behind, or on inputs from a fixed generator: all of them, or every n-th from the k-th on
// with --part=k/n.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cuda.h"
#include "kernels/parallel.h"
#include "tests/native/buffers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// Each unit is visited once, whatever the threads, the number of units and their cost.
void CheckShareOut() {
  for (int64_t threads : {1, 2, 3, 8}) {
    for (int64_t count = 0; count <= 70; ++count) {
      for (int64_t cost : {1, 300, 3000, 1000000}) {
        std::vector<std::atomic<int>> visits(count);
        std::vector<std::thread> pool;
        yolov1::ShareOut(
            threads, count, cost, [&](auto run) { pool.emplace_back(run); },
            [&](int64_t begin, int64_t end) {
              for (int64_t k = begin; k < end; ++k) ++visits[k];
            });
        for (std::thread& thread : pool) thread.join();
        for (const auto& number : visits) yolov1::Require(number == 1, "each unit once");
      }
    }
  }
}

// What goes wrong on a GPU is said in a sentence, with what to do.
void CheckCudaErrors() {
  const std::pair<cudaError_t, const char*> expected[] = {
      {cudaSuccess, ""},
      {cudaErrorNoKernelImageForDevice,
       "op (kernel): this GPU has compute capability 6.1, "
       "this build is for " YOLOV1_CUDA_ARCHITECTURES "; use impl='reference' or the CPU."},
      {cudaErrorInsufficientDriver,
       "op (kernel): the NVIDIA driver is for CUDA 12.4, this build needs one for CUDA 13.0 or "
       "later; update the driver, or build with an nvcc of its version."},
      {cudaErrorInvalidValue,
       "op (kernel): CUDA says an error of the host, there is no CUDA here."}};
  for (const auto& [status, text] : expected) {
    const std::string got = yolov1::CudaError("op (kernel)", status);
    yolov1::Require(got == text, "the sentence of error " + std::to_string(status) + ": " + got);
  }
}

constexpr int kInputs = 4000;

// How many they were.
int FeedGenerated(int first, int step) {
  std::mt19937 generator(2);
  int fed = 0;
  for (int k = 0; k < kInputs; ++k) {
    std::vector<uint8_t> input(generator() % 64);
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(generator());
    if (k % step != first) continue;
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++fed;
  }
  return fed;
}

}  // namespace

int main(int count, char** arguments) {
  int first = 0, step = 1;
  const bool part = count == 2 && sscanf(arguments[1], "--part=%d/%d", &first, &step) == 2;
  yolov1::Require(0 <= first && first < step, "--part=k/n with k from 0 to n - 1");
  for (int k = 1; k < count && !part; ++k) {
    std::ifstream file(arguments[k], std::ios::binary);
    if (!file) {
      fprintf(stderr, "%s cannot be read.\n", arguments[k]);
      return 1;
    }
    const std::vector<uint8_t> input(std::istreambuf_iterator<char>(file), {});
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  if (count > 1 && !part) return 0;
  CheckShareOut();
  CheckCudaErrors();
  printf("%d inputs without a complaint\n", FeedGenerated(first, step));
  return 0;
}
