// The fuzz target without a fuzzer: on files given as arguments, such as those that `make fuzz`
// leaves behind, or on inputs from a fixed generator.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/native/checked_call.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace yolov1 {
namespace {

constexpr int kInputs = 4000;

// A batch beyond the caches, where a kernel may write its gradient past them.
void CheckLargeBatch() {
  Call call;
  call.config.grid = {7, 2, 20};
  call.images = 2048;
  call.offset = 3;
  call.pieces = 3;
  call.threads = true;
  call.predictions.resize(call.images * call.config.grid.flat_size());
  call.targets.resize(call.images * call.config.grid.flat_target_size());
  std::mt19937 generator(1);
  for (double& value : call.predictions) value = generator() * 0x1p-32;
  for (size_t cell = 0; cell < call.targets.size(); cell += call.config.grid.target_channels()) {
    if (generator() % 16) continue;
    for (int64_t k = 0; k < call.config.grid.target_channels(); ++k)
      call.targets[cell + k] = generator() * 0x1p-32;
  }
  Check(call);
}

void FeedGenerated() {
  std::mt19937 generator(2);
  for (int k = 0; k < kInputs; ++k) {
    std::vector<uint8_t> input(generator() % 64);
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(generator());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}

}  // namespace
}  // namespace yolov1

int main(int count, char** arguments) {
  for (int k = 1; k < count; ++k) {
    std::ifstream file(arguments[k], std::ios::binary);
    if (!file) {
      fprintf(stderr, "%s cannot be read.\n", arguments[k]);
      return 1;
    }
    const std::vector<uint8_t> input(std::istreambuf_iterator<char>(file), {});
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  if (count > 1) return 0;
  yolov1::FeedGenerated();
  yolov1::CheckLargeBatch();
  printf("%d inputs and a large batch without a complaint\n", yolov1::kInputs);
  return 0;
}
