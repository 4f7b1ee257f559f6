// Reads the text that configures an op: "key=value" words.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace yolov1 {

// Reads the keys one after another and keeps the first complaint.
struct ConfigReader {
  const char* op;
  std::string_view text;
  std::string error = {};
  std::vector<std::string_view> known = {};  // keys that were asked for

  // What was wrong, at the end: also a key that nobody asked for, which a newer caller means.
  std::string Finish() {
    for (size_t begin = 0; error.empty() && begin < text.size();) {
      const size_t end = std::min(text.find(' ', begin), text.size());
      const std::string_view word = text.substr(begin, end - begin),
                             key = word.substr(0, word.find('='));
      if (!word.empty() && std::find(known.begin(), known.end(), key) == known.end())
        error = std::string(op) + ": config has the unknown key '" + std::string(key) +
                "': this library and its caller are of different versions; rebuild it.";
      begin = end + 1;
    }
    return error;
  }

  // The value of "key=value" in the text, or nothing.
  std::string_view Find(std::string_view key) {
    known.push_back(key);
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find(' ', begin), text.size());
      const std::string_view word = text.substr(begin, end - begin);
      if (word.size() > key.size() && word.substr(0, key.size()) == key && word[key.size()] == '=')
        return word.substr(key.size() + 1);
      begin = end + 1;
    }
    return {};
  }

  void Complain(const char* key, const std::string& expected, std::string_view got) {
    if (error.empty()) {
      error = std::string(op) + ": config needs " + key + "=" + expected + ", got '" +
              std::string(got) + "'.";
    }
  }

  // from_chars: the decimal point does not depend on the user's locale.
  template <typename Number>
  void Read(const char* key, const char* expected, Number least, Number most, Number* number) {
    const std::string_view value = Find(key);
    const auto [end, status] = std::from_chars(value.data(), value.data() + value.size(), *number);
    if (status != std::errc() || end != value.data() + value.size() ||
        !(least <= *number && *number <= most))
      Complain(key, expected, value);
  }

  template <typename Enum, size_t count>
  void Choose(const char* key, const char* const (&names)[count], Enum* choice) {
    const std::string_view value = Find(key);
    std::string expected;
    for (size_t k = 0; k < count; ++k) {
      if (value == names[k]) {
        *choice = static_cast<Enum>(k);
        return;
      }
      expected += (k ? "|" : "") + std::string(names[k]);
    }
    Complain(key, expected, value);
  }

  // The same of a key that may be missing: then the choice stays what it is.
  template <typename Enum, size_t count>
  void ChooseIfGiven(const char* key, const char* const (&names)[count], Enum* choice) {
    if (!Find(key).empty()) Choose(key, names, choice);
  }
};

}  // namespace yolov1
