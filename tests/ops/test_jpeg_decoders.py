"""The JPEG decoder of builds without TensorFlow makes of a file what TensorFlow's makes of it."""

import ctypes
import os
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.jpeg_cases import KINDS, SIDE, WHOLE, cropped, flipped, forgiven, picture
from tests.shared import ROOT

pytestmark = pytest.mark.on_cpu
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
PARTS = WHOLE, (4, 6, 8, 8), (5, 3, 11, 11)  # x, y, width, height

SOURCE = """
#include "kernels/load_images/jpeg.h"
namespace yolov1 {
std::atomic<const JpegDecoder*>& TheJpegDecoder() {
  static std::atomic<const JpegDecoder*> decoder = nullptr;
  return decoder;
}
}  // namespace yolov1
extern "C" int Size(const char* file, size_t size, int32_t* sides) {
  return yolov1::TheJpegDecoder().load()->size({file, size}, sides, sides + 1);
}
extern "C" int Decode(const char* file, size_t size, const yolov1::Part* part, uint8_t* rgb) {
  return yolov1::TheJpegDecoder().load()->decode({file, size}, 1, *part, rgb);
}
"""


@pytest.fixture(scope="module")
def libjpeg(tmp_path_factory):
    if not COMPILER:
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("decoder")
    (folder / "here.cc").write_text("#include <cstdio>\n#include <jpeglib.h>\n")
    if subprocess.run([COMPILER, "-E", folder / "here.cc"], capture_output=True).returncode:
        pytest.skip("no libjpeg here (Debian: libjpeg62-turbo-dev)")
    (folder / "decoder.cc").write_text(SOURCE)
    sources = folder / "decoder.cc", ROOT / "kernels/load_images/jpeg_libjpeg.cc"
    command = [COMPILER, "-std=c++17", "-shared", "-fPIC", f"-I{ROOT}", *sources, "-ljpeg"]
    subprocess.run([*command, "-o", folder / "decoder.so"], check=True)
    return ctypes.CDLL(folder / "decoder.so")


def sides(libjpeg, content):
    out = (ctypes.c_int32 * 2)()
    return list(out) if libjpeg.Size(content, ctypes.c_size_t(len(content)), out) else None


def assert_agree(libjpeg, content):
    """On each part: the same pixels, or refused by both. Returns how many parts are refused."""
    refused = 0
    for part in PARTS:
        got = np.empty((part[3], part[2], 3), np.uint8)
        done = libjpeg.Decode(
            content,
            ctypes.c_size_t(len(content)),
            (ctypes.c_int32 * 4)(*part),
            got.ctypes.data_as(ctypes.c_void_p),
        )
        want = cropped(content, part, neighbours=0)
        assert done == (want is not None)
        if done:
            np.testing.assert_array_equal(got, want)
        refused += not done
    return refused


@pytest.mark.first_case
@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(libjpeg, kind):
    content = picture(kind)
    assert assert_agree(libjpeg, content) == 0
    assert sum(assert_agree(libjpeg, content[:length]) for length in range(len(content))) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_other_bytes(libjpeg, kind):
    count = 0
    for content in flipped(kind, 150, seed=1):
        try:
            want = tf.io.extract_jpeg_shape(content).numpy().tolist()[:2]
        except tf.errors.InvalidArgumentError:
            want = None
        if content[2] == 255:  # else it is no JPEG to the op, whatever the decoder
            assert sides(libjpeg, content) == want
            if want == [SIDE, SIDE]:
                assert_agree(libjpeg, content)
                count += 1
    assert count > 50


@pytest.mark.parametrize("what", forgiven())
def test_what_tensorflow_forgives(libjpeg, what):
    assert_agree(libjpeg, forgiven()[what])
