"""Files that are not the weights of a network: refused by what they are and what was wanted."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.darknet.weights_files import drawn, golden, small, written
from yolov1.darknet import DarknetError, WeightsFile, layout, read_blocks, write_weights


def refused(tmp_path, content, network=None, **options):
    path = tmp_path / "x.weights"
    path.write_bytes(content)
    with pytest.raises(DarknetError) as error:
        next(iter(read_blocks(path, network or small(), **options)))
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (b"GIF89a\xc0\x01\xc0\x01", "a GIF image"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "a zip archive"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "a gzip archive"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "a Python pickle"),
        (b"\x80\x04\x95\x3c\0\0\0\0\0\0\0}", "a Python pickle"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "an HDF5 file"),
        (b"\x93NUMPY\x01\0v\0{'descr'", "a NumPy array"),
        (b"<!DOCTYPE html><html>", "a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"[net]\nbatch=1\n", "the text of a cfg"),
        (b'{"error": "no such file"}', "a text in JSON"),
        (b"\0" * 64, "neither a version"),
        (struct.pack("<3i", 0, 2, -1), "neither a version"),
        (np.random.default_rng(0).bytes(64), "neither a version"),
        (np.full(16, np.nan, "f4").tobytes(), "neither a version"),
    ],
)
def test_what_is_not_weights(tmp_path, content, what):
    assert what in refused(tmp_path, content + bytes(100))


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=0, max_size=24), st.sampled_from([b"", bytes(12), struct.pack("<f", 1)]))
def test_any_bytes_are_a_header_or_refused(tmp_path_factory, content, start):
    path = tmp_path_factory.mktemp("any") / "x.weights"
    path.write_bytes(start + content)
    try:
        file = WeightsFile(path, small())
    except DarknetError as error:
        assert "is not weights of Darknet's" in str(error)
        return
    assert file.header_bytes + 4 * file.floats + file.left_bytes == path.stat().st_size
    with pytest.raises(DarknetError, match="too short"):
        file.blocks()


@pytest.mark.parametrize("size", [0, 1, 19])
def test_a_file_without_a_header(tmp_path, size):
    assert f"it has {size} bytes" in refused(tmp_path, bytes(size))


def test_every_cut_is_refused_or_partial(tmp_path):
    network = small()
    content = written(tmp_path / "a", network).read_bytes()
    ends = np.cumsum([layer.floats for layer in network.layers])
    for size in range(20, len(content), 31):
        assert " is too short for small.cfg: layer " in refused(tmp_path, content[:size])
        whole = int(np.searchsorted(ends, (size - 20) // 4, "right"))
        assert len(WeightsFile(tmp_path / "x.weights", network).complete) == whole
    text = refused(tmp_path, content[:30], partial=True)
    assert "wanted 66 numbers" in text
    assert "0 of 4 layers" in text
    assert "partial=True" not in text


def test_a_network_without_parameters(tmp_path):
    empty = small("[net]\nheight=4\nwidth=4\nchannels=1\n[maxpool]\nsize=2\nstride=2\n")
    assert list(read_blocks(written(tmp_path / "a", empty), empty)) == []
    content = written(tmp_path / "b", small()).read_bytes()
    assert "its layers want 0 numbers" in refused(tmp_path, content, empty)


@pytest.mark.parametrize("floats", sorted(layout.KNOWN))
def test_another_networks_file_is_named(tmp_path, floats):
    path = tmp_path / "x.weights"
    with path.open("wb") as file:
        file.write(struct.pack("<3iQ", 0, 2, 0, 0))
        file.truncate(20 + 4 * floats)  # sparse: no bytes are written
    with pytest.raises(DarknetError) as error:
        read_blocks(path, small())
    assert "is too long for small.cfg: its layers, up to layer 3 [connected]" in str(error.value)
    assert f"It has as many numbers as {layout.KNOWN[floats]}." in str(error.value)


def test_the_known_counts_of_yolov1_are_darknets():
    index = golden("cfg", "index.json")
    ours = {n for n, name in layout.KNOWN.items() if "YOLOv" not in name}
    assert ours <= {entry["floats"] for entry in index}


def test_numbers_that_are_not_finite_are_warned_of(tmp_path):
    network = small()

    def odd(layer):
        arrays = drawn(layer)
        if layer.index == 1:
            arrays["weights"].flat[3] = np.nan
            arrays["weights"].flat[7] = np.inf
        return arrays

    write_weights(tmp_path / "a", network, odd)
    with pytest.warns(UserWarning, match=r"2 of the 1944 weights of layer 1 \[local\] \(line 10\)"):
        list(read_blocks(tmp_path / "a", network))
