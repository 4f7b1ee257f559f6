// JPEG files made by the system's libjpeg, of every kind that its decoder has code for.
#pragma once

#include <jpeglib.h>

#include <cstdint>
#include <cstdio>  // jpeglib.h needs it
#include <cstdlib>
#include <vector>

namespace yolov1 {

struct JpegKind {
  int32_t height = 1, width = 1;
  J_COLOR_SPACE space = JCS_RGB;  // or JCS_GRAYSCALE, JCS_CMYK
  int across = 1, down = 1;       // pixels that share a colour
  bool progressive = false;
  unsigned restart = 0;  // blocks between two markers to go on from; none
  int quality = 75;
};

// `next()` brings the pixels' bytes.
template <typename Next>
std::vector<uint8_t> MakeJpeg(const JpegKind& kind, const Next& next) {
  jpeg_compress_struct compress;
  jpeg_error_mgr errors;  // an error ends the program
  compress.err = jpeg_std_error(&errors);
  jpeg_create_compress(&compress);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&compress, &memory, &size);
  compress.image_height = static_cast<JDIMENSION>(kind.height);
  compress.image_width = static_cast<JDIMENSION>(kind.width);
  compress.in_color_space = kind.space;
  compress.input_components = kind.space == JCS_GRAYSCALE ? 1 : kind.space == JCS_RGB ? 3 : 4;
  jpeg_set_defaults(&compress);
  jpeg_set_quality(&compress, kind.quality, TRUE);
  if (kind.space == JCS_RGB) {
    compress.comp_info[0].h_samp_factor = kind.across;
    compress.comp_info[0].v_samp_factor = kind.down;
  }
  if (kind.progressive) jpeg_simple_progression(&compress);
  compress.restart_interval = kind.restart;
  jpeg_start_compress(&compress, TRUE);
  std::vector<uint8_t> line(compress.image_width * compress.input_components);
  for (int32_t row = 0; row < kind.height; ++row) {
    for (uint8_t& value : line) value = next();
    JSAMPROW from = line.data();
    jpeg_write_scanlines(&compress, &from, 1);
  }
  jpeg_finish_compress(&compress);
  jpeg_destroy_compress(&compress);
  const std::vector<uint8_t> file(memory, memory + size);
  free(memory);
  return file;
}

}  // namespace yolov1
