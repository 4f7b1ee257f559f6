// The versions of a CPU kernel that this processor can run: one for each level of SIMD, and what
// else there is of it.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

namespace yolov1 {

template <typename Level>  // the functions that a version consists of
struct Version {
  const char* name;
  const Level* level;
  bool here;  // whether this processor has all that it is compiled for
};

// Those of `all` that are here, in their order.
template <typename Level>
std::vector<Version<Level>> VersionsHere(std::initializer_list<Version<Level>> all) {
  std::vector<Version<Level>> versions;
  for (const Version<Level>& version : all)
    if (version.here) versions.push_back(version);
  return versions;
}

template <typename Level>
std::vector<std::string> NamesOf(const std::vector<Version<Level>>& versions) {
  std::vector<std::string> names;
  for (const Version<Level>& version : versions) names.push_back(version.name);
  return names;
}

}  // namespace yolov1
