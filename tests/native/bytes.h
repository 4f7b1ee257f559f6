// What the fuzz targets read: numbers and texts made of a fuzzer's bytes.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "tests/native/buffers.h"

namespace yolov1 {

// The input, byte by byte, and when it is used up, a generator: a short input is a whole call too.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : at_(data), end_(data + size) {
    state_ = Raw<uint16_t>();
  }

  bool UsedUp() const { return at_ == end_; }

  uint8_t Next() {
    if (at_ != end_) return *at_++;
    state_ = state_ * 6364136223846793005 + 1442695040888963407;
    return static_cast<uint8_t>(state_ >> 56);
  }

  int64_t Below(int64_t bound) { return Next() % bound; }

  template <typename T>
  T Raw() {
    uint8_t bytes[sizeof(T)];
    for (size_t k = 0; k < sizeof(T); ++k) bytes[k] = Next();
    T value;
    memcpy(&value, bytes, sizeof value);
    return value;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
  uint64_t state_ = 0;
};

inline double Value(Bytes* in) {
  static const double kSpecial[] = {0.0,   -0.0,   NAN,   INFINITY, -INFINITY, 1.0,    1e30,
                                    -1e30, 1e38,   -1e38, 1e300,    1e-38,     1e-42,  -1e-42,
                                    1e-45, 5e-324, 65504, 65520,    1e-7,      2.9e-8, -1.0};
  const uint8_t code = in->Next();
  if (code < std::size(kSpecial)) return kSpecial[code];
  if (code == 30) return in->Raw<float>();
  if (code == 31) return in->Raw<double>();
  return (code - 96) / 128.0;
}

// The text with bytes replaced, removed and put in, as the input says.
inline std::string Damaged(Bytes* in, std::string text) {
  while (!in->UsedUp()) {
    const size_t at = in->Raw<uint16_t>() % text.size();
    const char letter = static_cast<char>(in->Next());
    const int64_t how = in->Below(4);
    if (how == 0) text.insert(text.begin() + at, letter);
    if (how == 1) text.erase(at, 1);
    if (how >= 2) text[at] = letter;
    if (text.empty()) break;
  }
  return text;
}

// Whether `parse` accepts the text, in memory of its exact size with no zero behind it; where it
// does not, its error names `face`.
template <typename Config>
bool Accepts(std::string (*parse)(std::string_view, Config*), const std::string& face,
             std::string_view text, Config* config) {
  const std::vector<char> exact(text.begin(), text.end());
  const std::string error = parse({exact.data(), exact.size()}, config);
  Require(error.empty() || error.rfind(face + ": config ", 0) == 0, error);
  return error.empty();
}

// An input as a text for `check_text`, as a damaged one of `text` (a function of the bytes), or, in
// all but two of `kinds` cases, as a call.
template <typename Text, typename CheckText, typename CheckCall>
int Fuzz(const uint8_t* data, size_t size, int kinds, Text text, CheckText check_text,
         CheckCall check_call) {
  if (size == 0) return 0;
  Bytes in(data + 1, size - 1);
  switch (data[0] % kinds) {
    case 0:
      check_text({reinterpret_cast<const char*>(data + 1), size - 1});
      break;
    case 1:
      check_text(Damaged(&in, text(&in)));
      break;
    default:
      check_call(&in);
  }
  return 0;
}

}  // namespace yolov1
