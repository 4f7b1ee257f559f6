"""Weights files of every generation, read and written, and the memory that takes."""

import contextlib
import filecmp
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.darknet.weights_files import (
    SMALL,
    by_name,
    drawn,
    expected_blocks,
    golden,
    micro_plan,
    recipe,
    small,
    written,
)
from tests.shared import ROOT, SHARED, shared
from yolov1.darknet import (
    DarknetError,
    WeightsFile,
    plan,
    read_blocks,
    read_cfg,
    write_weights,
)

HEADERS = SHARED / "golden/darknet_full/headers"
WHOLE = "v0.2.0 v0.1.0 v0.2.5 floats_lr0 floats_lr0.001 floats_lr0.0001".split()
PARTIAL = "partial_1 partial_3 partial_4 partial_5 partial_7".split()
KINDS = {"v0.2.0": "0.2", "v0.1.0": "0.1", "v0.2.5": "0.2.5"}


def assert_blocks(found, expected):
    assert found.keys() == expected.keys()
    for key, array in found.items():
        assert array.dtype == np.float32
        assert array.shape == expected[key].shape, key
        np.testing.assert_array_equal(array, expected[key])


# Every generation.


@pytest.mark.parametrize("name", WHOLE)
def test_every_generation_gives_the_same_arrays(name):
    description = golden("headers", "headers.json")
    said = description["files"][f"{name}.weights"]
    file = WeightsFile(HEADERS / f"{name}.weights", micro_plan())
    assert file.kind == KINDS.get(name, "floats")
    assert file.transposed == (file.kind == "floats") == (file.version is None)
    assert file.seen == said["seen"]
    assert file.header_bytes + 4 * file.floats == said["bytes"]
    assert file.floats == file.expected == said["total_floats"]
    assert [layer.index for layer in file.complete] == said["complete_layers"]
    assert_blocks(by_name(file.blocks()), expected_blocks(description))


def test_the_settings_of_a_header_of_2015():
    micro_plan()
    settings = WeightsFile(HEADERS / "floats_lr0.0001.weights").settings
    np.testing.assert_allclose(settings, (0.0001, 0.9, 0.0005), rtol=1e-6)
    assert WeightsFile(HEADERS / "floats_lr0.weights").settings[0] == 0


@pytest.mark.parametrize("name", PARTIAL)
def test_partial_files_give_their_layers(name):
    description = golden("headers", "headers.json")
    said = description["files"][f"{name}.weights"]
    file = WeightsFile(HEADERS / f"{name}.weights", micro_plan())
    assert [layer.index for layer in file.complete] == said["complete_layers"]
    assert (file.floats, file.seen, file.cut) == (said["floats_from_file"], said["seen"], None)
    found = by_name(file.blocks(partial=True))
    assert {k for k, _ in found} == set(said["complete_layers"])
    expected = expected_blocks(description)
    assert_blocks(found, {key: expected[key] for key in found})
    with pytest.raises(DarknetError, match="is too short for .*micro.cfg: layer"):
        file.blocks()


def test_bytes_behind_the_last_layer_are_ignored_when_asked_for():
    network, path = micro_plan(), HEADERS / "trailing.weights"
    with pytest.raises(
        DarknetError, match=r"up to layer 7 .* want 6903 numbers, but there are 6910 \(29"
    ):
        read_blocks(path, network)
    found = by_name(read_blocks(path, network, trailing=True))
    assert_blocks(found, expected_blocks(golden("headers", "headers.json")))


def test_a_file_that_ends_inside_a_layer():
    network, path = micro_plan(), HEADERS / "truncated.weights"
    said = golden("headers", "headers.json")["truncated"]
    message = (
        r"layer 2 \[convolutional\] \(line \d+\) wanted 222 numbers \(its weights, in which the "
        r"file ends, 216\), but there were 78 left. The file holds 682 of 6903 numbers, 1 of 5"
    )
    with pytest.raises(DarknetError, match=message):
        read_blocks(path, network)
    file = WeightsFile(path, network)
    assert file.cut.index == said["block"][0]
    with pytest.warns(UserWarning, match=r"ends inside layer 2 \[convolutional\]"):
        found = by_name(file.blocks(partial=True))
    assert {k for k, _ in found} == {0}


@pytest.mark.parametrize(
    ("cfg", "name", "header"),
    [
        ("micro_tiny", "micro_tiny", 20),
        ("micro_tiny", "micro_tiny_v1", 16),
        ("micro_v1", "micro_v1", 20),
    ],
)
def test_the_small_reference_networks(cfg, name, header):
    network = plan(read_cfg(shared("golden", "darknet", f"{cfg}.cfg")))
    path = shared("golden", "darknet", f"{name}.weights")
    found = by_name(read_blocks(path, network))
    raw = np.frombuffer(path.read_bytes()[header:], "<f4")
    np.testing.assert_array_equal(np.concatenate([a.ravel() for a in found.values()]), raw)


def test_a_version_beyond_1000_holds_connected_weights_the_other_way():
    network = plan(read_cfg(shared("golden", "darknet", "micro_tiny.cfg")))
    plain, turned = (
        WeightsFile(shared("golden", "darknet", f"micro_tiny_{name}.weights"), network)
        for name in ("v1", "transposed")
    )
    assert (turned.version, turned.kind, turned.transposed) == ((0, 1001, 0), "0.1", True)
    assert (plain.version, plain.kind, plain.transposed) == ((0, 1, 0), "0.1", False)
    assert turned.seen == plain.seen == 12345
    assert_blocks(by_name(turned.blocks()), by_name(plain.blocks()))


# Written again.


@pytest.mark.parametrize(
    "name", "headers/v0.2.0 headers/small_variance train/tiny8 train/v1_8 train/paper".split()
)
def test_a_file_of_today_comes_back_byte_for_byte(tmp_path, name):
    path = shared("golden", "darknet_full", f"{name}.weights")
    cfg = "micro" if "v0.2.0" in name else path.stem
    network = plan(read_cfg(path.with_name(f"{cfg}.cfg")))
    file = WeightsFile(path, network)
    blocks = {layer: arrays for layer, arrays in file.blocks()}
    write_weights(tmp_path / "out", network, blocks.__getitem__, file.seen)
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


def test_the_file_of_the_text_network_has_its_numbers(tmp_path):
    description = golden("text", "micro20.json")
    network = plan(read_cfg(shared("golden", "darknet_full", "text", "micro20.cfg")))
    recipe().write(description, tmp_path / "in")
    blocks = dict(read_blocks(tmp_path / "in", network))
    assert_blocks(by_name(blocks.items()), expected_blocks(description))
    write_weights(tmp_path / "out", network, blocks.__getitem__)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


@settings(max_examples=30, deadline=None)
@given(
    floats=st.lists(st.floats(width=32), min_size=1, max_size=20),
    seen=st.integers(0, 2**64 - 1),
    normalized=st.booleans(),
    filters=st.integers(1, 4),
)
def test_any_numbers_come_back(tmp_path_factory, floats, seen, normalized, filters):
    network = small(SMALL.replace("filters=3", f"filters={filters}"))
    path = tmp_path_factory.mktemp("any") / "a.weights"
    given_ = {
        layer: {b.name: np.resize(np.float32(floats), b.shape) for b in layer.blocks}
        for layer in network.layers
    }
    write_weights(path, network, given_.__getitem__, seen)
    file = WeightsFile(path, network)
    assert (file.seen, file.version, file.kind) == (seen, (0, 2, 0), "0.2")
    odd = not np.isfinite(np.float32(floats)).all()
    with pytest.warns(match="not finite") if odd else contextlib.nullcontext():
        found = by_name(file.blocks())
    assert_blocks(found, by_name(given_.items()))


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    network, path = small(), tmp_path / "a.weights"
    written(path, network)
    before = path.read_bytes()

    def wrong(layer):
        arrays = drawn(layer)
        if layer.index == 2:
            arrays["weights"] = arrays["weights"].T
        return arrays

    with pytest.raises(DarknetError, match=r"small.cfg: layer 2 \[connected\].*\(4, 72\).*72, 4"):
        write_weights(path, network, wrong)
    with pytest.raises(DarknetError, match=r"layer 0 .* needs arrays of the shapes .*, got \{\}"):
        write_weights(path, network, lambda layer: {})
    with pytest.raises(ValueError, match="seen must be a whole number from 0 to"):
        write_weights(path, network, drawn, -1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_precisions_are_written_as_float32(tmp_path):
    network = small()
    write_weights(
        tmp_path / "a",
        network,
        lambda layer: {name: np.float64(a) for name, a in drawn(layer).items()},
    )
    assert (tmp_path / "a").read_bytes() == written(tmp_path / "b", network).read_bytes()


# Keys that change what a file holds.


def test_layers_and_scales_that_the_file_lacks(tmp_path):
    network = small()
    content = written(tmp_path / "a", network).read_bytes()
    convolution, local = network.layers[0].floats, network.layers[1].floats
    less = small(SMALL.replace("[local]", "[local]\ndontload=1"))
    cut = content[: 20 + 4 * convolution] + content[20 + 4 * (convolution + local) :]
    (tmp_path / "b").write_bytes(cut)
    expected = by_name((layer, drawn(layer)) for layer in network.layers)
    found = by_name(read_blocks(tmp_path / "b", less))
    assert_blocks(found, {key: a for key, a in expected.items() if key[0] != 1})
    unscaled = small(SMALL.replace("[convolutional]", "[convolutional]\ndontloadscales=1"))
    (tmp_path / "c").write_bytes(content[:32] + content[32 + 4 * 9 :])
    found = by_name(read_blocks(tmp_path / "c", unscaled))
    assert [name for k, name in found if k == 0] == ["biases", "weights"]
    assert_blocks(found, {key: expected[key] for key in found})


def test_layers_that_are_not_saved(tmp_path):
    network = small(SMALL.replace("[local]", "[local]\ndontsave=1\ndontload=1"))
    file = WeightsFile(written(tmp_path / "a", network), network)
    assert file.floats == file.expected == network.floats - network.layers[1].floats
    assert [layer.index for layer, _ in file.blocks()] == [0, 2, 3]


def test_flipped_weights_are_turned_and_not_written(tmp_path):
    flipped = small(SMALL.replace("[convolutional]", "[convolutional]\nflipped=1"))
    found = by_name(read_blocks(written(tmp_path / "a", small()), flipped))
    stored = drawn(small().layers[0])["weights"]
    np.testing.assert_array_equal(found[0, "weights"], stored.reshape(18, 3).T.reshape(3, 2, 3, 3))
    with pytest.raises(DarknetError, match=r"line 6: \[convolutional\] flipped=1: Darknet reads"):
        written(tmp_path / "b", flipped)


def test_some_of_the_filters_are_refused(tmp_path):
    path = written(tmp_path / "a", small())
    with pytest.raises(DarknetError, match=r"\[connected\] numload=2: reading some"):
        WeightsFile(path, small(SMALL.replace("output=4", "output=4\nnumload=2")))


@pytest.mark.parametrize("revision", [0, 5])
@pytest.mark.parametrize("biases", [False, True])
def test_batchnorm_layers_of_both_darknets(tmp_path, revision, biases):
    network = small(SMALL.replace("[local]", "[batchnorm]\n[local]"))
    own = written(tmp_path / "a", network).read_bytes()[20:]
    at = 4 * network.layers[0].floats
    own = own[:at] + np.zeros(3 * biases, "f4").tobytes() + own[at:]
    (tmp_path / "b").write_bytes(struct.pack("<3iQ", 0, 2, revision, 1) + own)
    expected = by_name((layer, drawn(layer)) for layer in network.layers)
    assert_blocks(by_name(read_blocks(tmp_path / "b", network)), expected)


def test_arrays_are_views_that_cannot_be_written(tmp_path):
    _, arrays = next(iter(read_blocks(written(tmp_path / "a", small()), small())))
    with pytest.raises(ValueError, match="read-only"):
        arrays["biases"][0] = 1


def test_a_file_without_a_network_has_a_header(tmp_path):
    file = WeightsFile(written(tmp_path / "a", small(), seen=64))
    assert (file.seen, file.floats, file.expected) == (64, small().floats, None)
    assert "kind='0.2'" in repr(file)
    with pytest.raises(ValueError, match="needs a plan"):
        file.blocks()


MEMORY = """
import json, sys
from yolov1.darknet import plan, read_blocks, read_cfg

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key + ":"))

network = plan(read_cfg(sys.argv[1]))
before = {key: status(key) for key in ("RssAnon", "RssFile", "VmHWM")}
anonymous, total = 0, 0.0
for layer, arrays in read_blocks(sys.argv[2], network):
    total += sum(float(array.sum()) for array in arrays.values())
    anonymous = max(anonymous, status("RssAnon"))
del arrays
print(json.dumps({
    "anonymous": anonymous - before["RssAnon"],
    "peak": status("VmHWM") - before["VmHWM"],
    "left": status("RssFile") - before["RssFile"],
}))
"""


@pytest.mark.slow
def test_the_largest_file_takes_the_memory_of_one_layer(tmp_path):
    """Pages of a read-only map are the page cache's: the system takes them back when it needs
    them. They are counted (VmHWM) while a layer's map lives, and are gone with it."""
    description = golden("real", "yolov1.json")
    cfg = shared("golden", "darknet_full", "cfg", description["cfg"])
    path, again = tmp_path / "yolov1.weights", tmp_path / "again.weights"
    try:
        assert recipe().write(description, path) == description["weights_md5"]
        command = [sys.executable, "-c", MEMORY, str(cfg), str(path)]
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        network = plan(read_cfg(cfg))
        layers = read_blocks(path, network)
        write_weights(again, network, lambda _: next(layers)[1])
        assert filecmp.cmp(path, again, shallow=False)
    finally:
        path.unlink(missing_ok=True)
        again.unlink(missing_ok=True)
    used = json.loads(out)  # MiB above what Python and NumPy take
    largest = 4 * max(layer.floats for layer in network.layers) / 2**20
    assert used["anonymous"] < 16
    assert used["peak"] < largest + 32
    assert used["left"] < 16
