"""Shapes and counts of Darknet's whole family, and what is refused."""

import json

import pytest

from tests.shared import SHARED, shared
from yolov1.darknet import DarknetError, parse_cfg, plan, read_cfg
from yolov1.grid import GridSpec
from yolov1.semantics import LossSemantics

FAMILY = SHARED / "golden/darknet_full/cfg"
INDEX = FAMILY / "index.json"
INDEX = json.loads(INDEX.read_text()) if INDEX.exists() else []
NET = "[net]\nheight=8\nwidth=8\nchannels=3\n"
HEAD = "[connected]\noutput=44\n[detection]\nside=2\nnum=1\nclasses=6\ncoords=4\n"


def ids(entry):
    return entry["file"]


@pytest.mark.parametrize("entry", INDEX, ids=ids)
def test_the_family_has_darknets_shapes(entry):
    found = plan(read_cfg(FAMILY / entry["file"]), refuse=False)
    assert [[x.kind, list(x.output), x.floats] for x in found.layers] == entry["layers"]
    assert found.floats == entry["floats"]
    assert [layer.index for layer in found.layers] == list(range(len(found.layers)))
    assert bool(found.unsupported) == entry["file"].startswith("xyolo")


def test_the_detectors_of_may_to_september_2015_are_refused():
    shared("golden", "darknet_full", "cfg")
    early = [e for e in INDEX if e["layers"][-1][:2] == ["detection", [1225, 1, 1]]]
    assert len(early) == 14
    for entry in INDEX:
        cfg = read_cfg(FAMILY / entry["file"])
        if entry not in early:
            plan(cfg)
            continue
        with pytest.raises(DarknetError, match=r"line \d+: \[detection\] \w+=.*May to September"):
            plan(cfg)


@pytest.mark.parametrize("name", ["yolov1", "yolov1-tiny", "yolo-2015", "yolo-tiny-2015"])
def test_blocks_stand_in_the_order_of_the_file(name):
    golden = json.loads(shared("golden", "darknet_full", "real", f"{name}.json").read_text())
    found = plan(read_cfg(FAMILY / golden["cfg"]))
    blocks = [[x.index, x.kind, b.name, list(b.shape)] for x in found.layers for b in x.blocks]
    assert blocks == golden["blocks"]


def of(name):
    return plan(read_cfg(shared("golden", "darknet_full", "cfg", name)))


def test_what_a_detector_is():
    found = of("yolov1@e84933b.cfg")
    assert found.grid == GridSpec(7, 3, 20, 448)
    assert (found.head, found.classes, found.image_size) == ("detection", 20, 448)
    assert found.semantics == LossSemantics.preset("darknet")
    assert found.wh == "predict_sqrt"
    assert of("t1.test@ab75d5c.cfg").image_size == 224
    assert of("yolo-coco@c62b4f3.cfg").grid.C == 80


def test_what_a_classifier_is():
    found = of("extraction22k@8f1b4e0.cfg")
    assert (found.head, found.grid, found.semantics) == ("classifier", None, None)
    assert found.classes == 21842
    assert plan(parse_cfg(NET + "[convolutional]\nfilters=4\n")).head == "features"


def test_the_loss_of_other_keys():
    scales = "object_scale=2\nnoobject_scale=.25\nclass_scale=3\ncoord_scale=4\nrescore=0\n"
    found = plan(parse_cfg(f"{NET}{HEAD}{scales}softmax=1\nforced=1\nrandom=1\n"))
    assert found.semantics == LossSemantics(
        weight_xy=4,
        weight_wh=4,
        weight_object=2,
        weight_no_object=0.25,
        weight_class=3,
        factor=0.5,
        wh="plain",
        confidence_target="one",
        no_overlap_fallback="rmse",
    )
    assert found.wh == "plain"
    texts = " ".join(found.remarks)
    assert all(f"[detection] {key}=1: the loss here" in texts for key in ("softmax", "forced"))
    assert "random=1: the loss" in texts
    with pytest.raises(DarknetError, match=r"\[detection\]: LossSemantics: weight_object must"):
        _ = plan(parse_cfg(f"{NET}{HEAD}object_scale=-1\n")).semantics


def test_darknets_defaults_of_the_loss():
    found = plan(parse_cfg(NET + HEAD))
    assert (found.wh, found.semantics.confidence_target) == ("plain", "one")
    assert found.semantics.weight_xy == found.semantics.weight_no_object == 1


@pytest.mark.parametrize(
    ("layers", "shapes"),
    [
        ("[maxpool]\nsize=2\nstride=1\n", [(3, 8, 8)]),  # padding is size - 1 unless given
        ("[maxpool]\nsize=3\nstride=2\n", [(3, 4, 4)]),
        ("[maxpool]\nsize=3\nstride=2\npadding=0\n", [(3, 3, 3)]),
        ("[maxpool]\nstride=2\n", [(3, 4, 4)]),
        ("[convolutional]\nfilters=2\nsize=4\npad=1\n", [(2, 9, 9)]),
        ("[convolutional]\nfilters=2\nsize=3\npadding=2\nstride=3\n", [(2, 4, 4)]),
        ("[local]\nfilters=2\nsize=3\nstride=2\n", [(2, 3, 3)]),
        ("[connected]\noutput=5\n[convolutional]\nfilters=4\n", [(5, 1, 1), (4, 1, 1)]),
        ("[crop]\ncrop_height=4\ncrop_width=6\n[avgpool]\n", [(3, 4, 6), (3, 1, 1)]),
    ],
)
def test_formulas_of_single_layers(layers, shapes):
    assert [layer.output for layer in plan(parse_cfg(NET + layers)).layers] == shapes


def test_a_vector_as_input():
    found = plan(parse_cfg("[net]\ninputs=12\n[connected]\noutput=5\nbatch_normalize=1\n"))
    assert [(b.name, b.shape) for b in found.layers[0].blocks] == [
        ("biases", (5,)),
        ("weights", (5, 12)),
        ("scales", (5,)),
        ("rolling_mean", (5,)),
        ("rolling_variance", (5,)),
    ]
    assert found.input == (12,)
    with pytest.raises(DarknetError, match=r"\[maxpool\] needs an image, .* gives 12 numbers"):
        plan(parse_cfg("[net]\ninputs=12\n[maxpool]\n"))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("[route]\nlayers=-1\n", r"line 5: \[route\] is a layer of YOLOv2 and later"),
        ("[reorg]\n", "layer of YOLOv2, which YOLOv1 never had"),
        ("[region]\n", "layer of YOLOv2"),
        ("[shortcut]\n", "layer of YOLOv3"),
        ("[yolo]\n", "layer of YOLOv3"),
        ("[upsample]\n", "layer of YOLOv3"),
        ("[sam]\n", "layer of YOLOv4"),
        ("[lrn]\n", "layer of AlexNet"),
        ("[Convolutional]\n", r"no section that Darknet knows.*Was \[convolutional\] meant"),
        ("[maxpool] # first\n", r"nothing may follow them.*Was \[maxpool\] meant"),
        ("[net]\n", "must be there once"),
        ("", r"there is no layer after line 1: \[net\]"),
        ("[convolutional]\nfilters=no\n", r"line 6: \[convolutional\] filters=no must be a whole"),
        ("[convolutional]\nstride=0\n", "stride=0 must be .* at least 1, got 0"),
        ("[convolutional]\npadding=-1\n", "padding=-1 must be .* at least 0, got -1"),
        ("[convolutional]\nsize=9\n", "size=9 does not fit its input of 8 x 8"),
        ("[convolutional]\nfilters=4\ngroups=2\n", "groups=2 must divide 3 channels and 4 filters"),
        ("[crop]\ncrop_height=9\ncrop_width=8\n", "crop_height=9 is more than its input's 8"),
        ("[local]\nfilters=2\nsize=1\npad=1\n", "pad=1 with size=1 gives 10 x 10 places"),
        ("[softmax]\n[avgpool]\n", r"line 6: \[avgpool\] needs an image, .* gives 192 numbers"),
        ("[softmax]\ngroups=5\n", "groups=5 must divide 192"),
        (HEAD.replace("44", "45"), r"= 2\*2\*\(5\*1\+6\) = 44 numbers, but .* gives 45"),
        (HEAD.replace("coords=4\n", ""), r"must be 4 .*got 1 \(what Darknet takes without"),
        (HEAD + "[dropout]\n", r"\[detection\] must be the last section"),
    ],
)
def test_what_is_refused(layers, message):
    with pytest.raises(DarknetError, match=message):
        plan(parse_cfg(NET + layers))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("height=8\n", r"\[net\] channels must be a whole number of at least 1, got 0"),
        ("height=8\nwidth=8\nchannels=3\nsubdivisions=0\n", "must be at least 1"),
        ("height=8\nwidth=8\nchannels=3\ninputs=9\n", "is not height . width . channels = 192"),
        ("policy=steps\nscales=.1\n", "policy=steps needs the key steps"),
        ("policy=steps\nsteps=1,2\nscales=.1\n", "scales=.1 has 1 values for 2 steps"),
    ],
)
def test_what_is_refused_of_net(net, message):
    with pytest.raises(DarknetError, match=message):
        plan(parse_cfg(f"[net]\n{net}[maxpool]\n"))


def test_what_is_counted_but_not_built():
    found = of("xyolo.test@8a767f1.cfg")
    assert any("XNOR" in sentence for sentence in found.unsupported)
    assert any("[batchnorm]" in sentence for sentence in found.unsupported)
    (sentence,) = plan(parse_cfg(NET.replace("height=8", "height=9") + HEAD)).unsupported
    assert "line 2: [net] height=9 and line 3: [net] width=8" in sentence


def test_old_keys_beside_the_new_ones_are_only_ignored():
    assert plan(parse_cfg(f"{NET}{HEAD}objectness=1\n")).grid == GridSpec(2, 1, 6, 8)
