// JPEG files, whole and damaged, and what a call of load_images makes of them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/load_images/jpeg.h"
#include "tests/native/bytes.h"
#include "tests/native/load_images_batch.h"

#ifdef YOLOV1_LIBJPEG
#include "tests/native/jpeg_files.h"

namespace yolov1 {

// libjpeg writes what it forgives to this stream; those of the sanitizers have their own.
struct Quiet {
  FILE* const usual = stderr;
  Quiet() {
    static FILE* const nowhere = fopen("/dev/null", "w");
    stderr = nowhere;
  }
  ~Quiet() { stderr = usual; }
};

inline std::string_view AsText(const std::vector<uint8_t>& file) {
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

inline std::vector<uint8_t> AnyJpeg(Bytes* in, int32_t most) {
  static const J_COLOR_SPACE kSpaces[] = {JCS_RGB, JCS_RGB, JCS_RGB, JCS_GRAYSCALE, JCS_CMYK};
  JpegKind kind;
  kind.height = 1 + in->Next() % most;
  kind.width = 1 + in->Next() % most;
  kind.space = kSpaces[in->Below(5)];
  kind.across = 1 + static_cast<int>(in->Below(2));
  kind.down = 1 + static_cast<int>(in->Below(2));
  kind.progressive = in->Below(3) == 0;
  kind.restart = in->Below(3) == 0 ? 1 + in->Below(4) : 0;
  kind.quality = 1 + static_cast<int>(in->Below(100));
  uint8_t value = in->Next();
  const int64_t step = 1 + in->Below(40);
  return MakeJpeg(kind, [&] { return value += static_cast<uint8_t>(in->Below(step)); });
}

// A part of an image, in memory of the exact size.
struct Decoded {
  Part part;
  std::vector<uint8_t> rgb;
  bool done;

  Decoded(std::string_view file, int32_t ratio, const Part& part, uint8_t fill)
      : part(part), rgb(int64_t{3} * part.height * part.width, fill) {
    const Quiet quiet;
    done = TheJpegDecoder().load()->decode(file, ratio, part, rgb.data());
  }
};

// The size at 1/`ratio`; false: there is none, or one that takes long to decode.
inline bool SizeAt(std::string_view file, int32_t ratio, Part* whole) {
  int32_t height = 0, width = 0;
  const Quiet quiet;
  if (!TheJpegDecoder().load()->size(file, &height, &width)) return false;
  *whole = {0, 0, Shrunk(width, ratio), Shrunk(height, ratio)};
  return int64_t{height} * width <= 1 << 20;
}

// Away from its edges a part is what lies there in the whole: at them a colour that several pixels
// share has no neighbour to be blended with.
inline void CheckPart(std::string_view file, int32_t ratio, const Decoded& whole, Bytes* in) {
  const int32_t height = whole.part.height, width = whole.part.width;
  Part part;
  part.x = in->Next() % width;
  part.y = in->Next() % height;
  part.width = 1 + in->Next() % (width - part.x);
  part.height = 1 + in->Next() % (height - part.y);
  const Decoded cut(file, ratio, part, 0x5a);
  Require(cut.done, "a part of what is decoded");
  for (int32_t y = 1; y < part.height - 1; ++y)
    for (int32_t x = 1; x < part.width - 1; ++x)
      for (int c = 0; c < 3; ++c)
        Require(cut.rgb[3 * (y * part.width + x) + c] ==
                    whole.rgb[3 * ((part.y + y) * width + part.x + x) + c],
                "the pixels of a part");
}

// One file: its parts, each of its beginnings, and others with bytes of another value.
inline void CheckJpegFile(Bytes* in) {
  std::vector<uint8_t> file = AnyJpeg(in, 40);
  const int32_t ratio = 1 << in->Below(4);
  Part all;
  Require(SizeAt(AsText(file), ratio, &all), "a header");
  const Decoded whole(AsText(file), ratio, all, 0xa5);
  Require(whole.done && whole.rgb == Decoded(AsText(file), ratio, all, 0x5a).rgb, "every pixel");
  for (int k = 0; k < 3; ++k) CheckPart(AsText(file), ratio, whole, in);

  for (size_t length = 0; length < file.size(); ++length) {
    const std::vector<uint8_t> beginning(file.begin(), file.begin() + length);
    const Decoded part(AsText(beginning), ratio, all, 0x5a);
    if (!part.done) continue;
    Require(length + 2 >= file.size(),
            "a file is refused where more is missing than its last marker");
    Require(part.rgb == whole.rgb, "a truncated file is whole or refused");
  }

  for (int k = 0; k < 8; ++k) {
    std::vector<uint8_t> other = file;
    for (int64_t flips = 1 + in->Below(3); flips > 0; --flips)
      other[in->Raw<uint16_t>() % other.size()] ^= static_cast<uint8_t>(1 + in->Below(255));
    Part size;
    if (!SizeAt(AsText(other), ratio, &size)) continue;
    const Decoded one(AsText(other), ratio, size, 0x5a), two(AsText(other), ratio, size, 0xa5);
    Require(one.done == two.done && (!one.done || one.rgb == two.rgb), "every pixel is written");
  }
}

// A part with the two pixels around it that its own may be blended with.
inline Part Grown(const Part& part, const Part& all) {
  const int32_t x = std::max(part.x - 2, 0), y = std::max(part.y - 2, 0);
  return {x, y, std::min(part.x + part.width + 2, all.width) - x,
          std::min(part.y + part.height + 2, all.height) - y};
}

// A batch of files, some of them damaged.
inline void CheckJpegs(Bytes* in) {
  Batch batch(in, in->Below(4), false);
  std::vector<std::vector<uint8_t>> files(batch.images);
  std::vector<std::string_view> contents;
  for (int64_t image = 0; image < batch.images; ++image) {
    std::vector<uint8_t>& file = files[image];
    file = AnyJpeg(in, in->Below(4) ? 24 : 140);
    const int64_t how = in->Below(24);
    if (how < 2) file.resize(in->Raw<uint16_t>() % file.size());
    if (how == 2) file[in->Raw<uint16_t>() % file.size()] ^= 1 << in->Below(8);
    contents.push_back(AsText(files[image]));

    Part all;
    int32_t height = 0, width = 0;
    const Quiet quiet;
    if (contents[image].substr(0, 3) != "\xff\xd8\xff" ||
        !TheJpegDecoder().load()->size(contents[image], &height, &width))
      continue;
    if (int64_t{height} * width > 1 << 20) return;
    const int32_t ratio = batch.Ratio(height, width);
    SizeAt(contents[image], ratio, &all);
    WindowSide x, y;
    Part part = {0, 0, 1, 1};
    if (batch.draws.ToWindow(image, all.height, all.width, batch.config.sampling, &x, &y)) {
      const Part shown = {x.begin(), y.begin(), x.end() - x.begin(), y.end() - y.begin()};
      if (shown.width > 0 && shown.height > 0) part = Grown(shown, all);
    }
    // Refused where this part is; of a sound file the pixels are those of the whole image.
    const Decoded decoded(contents[image], ratio, part, 0);
    if (!decoded.done) continue;
    const Decoded& known = how > 2 ? Decoded(contents[image], ratio, all, 0) : decoded;
    const Part& of = known.part;
    batch.Expect(image, {all.height, all.width, of.y, of.x, of.height, of.width, known.rgb.data()});
  }
  const Quiet quiet;
  batch.Check(kLoadImages, {{DType::kString, {batch.images}, contents.data()}}, in);
}

}  // namespace yolov1

#else
namespace yolov1 {

inline void CheckJpegFile(Bytes*) {
  static const int said = puts("no libjpeg here: JPEG files are not tried");
  Require(said >= 0, "a line about it");
}

// Every file is refused.
inline void CheckJpegs(Bytes* in) {
  Batch batch(in, 1 + in->Below(3), false);
  const std::vector<std::string_view> contents(batch.images, "\xff\xd8\xff");
  batch.Check(kLoadImages,
              {{DType::kString, {batch.images}, const_cast<std::string_view*>(contents.data())}},
              in);
}

}  // namespace yolov1
#endif
