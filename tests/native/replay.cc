// The fuzz target without a fuzzer: on files given as arguments, such as those that `make fuzz`
// leaves behind, or on inputs from a fixed generator.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kInputs = 4000;

void FeedGenerated() {
  std::mt19937 generator(2);
  for (int k = 0; k < kInputs; ++k) {
    std::vector<uint8_t> input(generator() % 64);
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(generator());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}

}  // namespace

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
  FeedGenerated();
  printf("%d inputs without a complaint\n", kInputs);
  return 0;
}
