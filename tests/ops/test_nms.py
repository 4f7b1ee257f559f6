"""Non-maximum suppression: the fused op and the reference against the plain rule in NumPy.

What holds on one device holds on the other, to the bit: most tests run on both. The soft rules are
in test_nms_soft.py; where they take the ways of the hard one, here.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.nms_cases import IMPLS, SHAPES, assert_equal, bits, call
from tests.ops.nms_numpy import degenerate, random_case, suppress
from yolov1 import kernels, ops
from yolov1.ops import _library

# ---------------------------------------------------------------------------------------- the rule


@pytest.mark.each_value
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_plain_rule(shape, impl):
    boxes, scores = random_case(len(shape), *SHAPES[shape])
    for options in (
        {},
        dict(score_threshold=0.4, iou_threshold=0.3, max_detections=7),
        dict(score_threshold=0.0, iou_threshold=0.0, clip=False),
        dict(score_threshold=-np.inf, iou_threshold=1, max_detections=3000),
        dict(score_threshold=1.0, max_detections=1),
    ):
        want = suppress(boxes, scores, **options)
        for graph in (False, True):
            assert_equal(call(boxes, scores, impl, graph, **options), want)


@pytest.mark.parametrize("clip", (False, True))
@pytest.mark.parametrize("seed", range(8))
def test_degenerate_boxes_and_scores(seed, clip):
    boxes, scores = random_case(seed, 2, 60, 3)
    boxes = degenerate(boxes, seed)
    scores[:, ::5, 0] = np.nan
    scores[:, 1::7, 1] = -np.inf
    scores[:, 3, 2] = np.inf
    options = dict(iou_threshold=0.3, clip=clip, max_detections=200)
    want = suppress(boxes, scores, **options)
    assert (0 < want[3]).all() and (want[3] < 180).all()
    for impl in IMPLS:
        assert_equal(call(boxes, scores, impl, **options), want)


def test_an_inverted_box_is_empty():
    boxes = np.float32([[[0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]]])
    scores = np.float32([[[0.9], [0.8], [0.7]]])
    for impl in IMPLS:
        found, _, _, count = call(boxes, scores, impl, max_detections=3)
        assert count == 3
        assert found[0].tolist() == [[0, 0, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("impl", IMPLS)
def test_thresholds_are_exceeded_strictly(impl):
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.5]]])  # IoU 1 / 2
    scores = np.float32([[[0.75], [0.25]]])
    below = np.nextafter(np.float32(0.5), np.float32(0))
    for iou_threshold, count in ((0.5, 2), (below, 1)):
        assert call(boxes, scores, impl, iou_threshold=iou_threshold)[3] == count
    below = np.nextafter(np.float32(0.25), np.float32(0))
    for score_threshold, count in ((0.25, 1), (below, 2), (0.75, 0)):
        assert call(boxes, scores, impl, score_threshold=score_threshold)[3] == count


@pytest.mark.parametrize("impl", IMPLS)
def test_a_box_may_be_kept_for_several_classes(impl):
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.9]]])
    scores = np.float32([[[0.9, 0.1, 0.6], [0.2, 0.8, 0.5]]])
    found, kept, labels, count = call(boxes, scores, impl, max_detections=6)
    assert count == 3 and labels[0].tolist() == [0, 1, 2, 0, 0, 0]
    assert kept[0].tolist() == [*np.float32([0.9, 0.8, 0.6]), 0, 0, 0]
    np.testing.assert_array_equal(found[0, :3], boxes[0, [0, 1, 0]])


def test_equal_scores_go_by_box_then_by_class():
    boxes, scores = random_case(3, 4, 98, 20)
    scores = np.round(scores * 8) / 8
    scores[0] = -np.abs(scores[0]) * (scores[0] < 0.5)  # zeros of both signs are one score
    scores[1] = 0.5
    ulps = np.random.default_rng(0).permutation(98 * 20).reshape(98, 20)
    scores[2] = 0.5 + ulps * 2.0**-24  # neighbours among the floats
    for options in ({}, dict(max_detections=3000), dict(max_detections=11, iou_threshold=0.2)):
        options |= dict(score_threshold=-0.2)
        assert_equal(call(boxes, scores, **options), suppress(boxes, scores, **options))
    apart = np.float32([[[k, 0, k + 1, 1] for k in range(3)]])
    found, _, labels, _ = call(
        apart, np.full((1, 3, 2), 0.5, np.float32), clip=False, max_detections=6
    )
    assert found[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert labels[0].tolist() == [0, 1] * 3


def test_more_boxes_than_a_grid_has():
    """Rows of overlaps are made for what is kept alone: 20,000 boxes squared would be 400 MB."""
    boxes, scores = random_case(1, 1, 20000, 1)
    assert_equal(
        call(boxes, scores, max_detections=50),
        call(boxes, scores, "reference", max_detections=50),
    )


@pytest.mark.parametrize("dtype", (tf.float16, tf.bfloat16, tf.float64))
def test_other_dtypes_are_cast(dtype):
    boxes, scores = (tf.cast(x, dtype) for x in random_case(2))
    want = call(tf.cast(boxes, tf.float32), tf.cast(scores, tf.float32))
    assert_equal(call(boxes, scores), want)


# ------------------------------------------------------------------------------ bits, faces, graphs


@pytest.mark.parametrize(
    "suppression",
    [pytest.param(s, marks=pytest.mark.slow if s == "hard" else ()) for s in kernels.SUPPRESSIONS],
)
def test_threads_repeats_and_neighbours_change_no_bit(suppression):
    boxes, scores = random_case(5, 67, 98, 20)
    scores = np.round(scores * 64) / 64
    rule = dict(suppression=suppression)
    first = kernels.non_max_suppression(boxes, scores, **rule)
    if suppression == "hard":
        assert_equal(first, suppress(boxes, scores))
    for threads in (1, 2, 3, 67, 100):
        again = kernels.non_max_suppression(boxes, scores, threads=threads, **rule)
        assert bits(again) == bits(first)
    for graph in (False, True):
        assert bits(call(boxes, scores, graph=graph, **rule)) == bits(first)
    alone = kernels.non_max_suppression(boxes[5:6], scores[5:6], **rule)
    assert bits(alone) == bits(array[5:6] for array in first)


@pytest.mark.on_cpu
def test_the_numpy_face_takes_any_array():
    boxes, scores = random_case(4)
    want = kernels.non_max_suppression(boxes, scores, max_detections=9)
    other = np.asfortranarray(boxes.astype(">f8")), scores.astype(np.float64)[..., ::1].tolist()
    assert_equal(kernels.non_max_suppression(*other, max_detections=9), want)


@pytest.mark.parametrize(
    "impl, suppression", (("auto", "hard"), ("fused", "hard"), ("fused", "gaussian"))
)
def test_xla_compiles_it(impl, suppression, device):
    """TensorFlow's own op has no kernel there. Each batch size compiles anew."""
    rule = dict(max_detections=40, suppression=suppression)
    if impl == "auto" and f"XLA_{device}_JIT" in _library.ON_REQUEST.get("non_max_suppression", ()):
        pytest.skip("there the fused op is for who asks for it")

    @tf.function(jit_compile=True)
    def run(boxes, scores):
        return ops.non_max_suppression(boxes * 1, scores * 1, impl=impl, **rule)

    for images in (3, 64, 0):
        case = random_case(7, images, 98, 20)
        want = kernels.non_max_suppression(*case, **rule)
        assert bits(x.numpy() for x in run(*map(tf.constant, case))) == bits(want)


def test_under_xla_a_batch_whose_size_depends_on_values_is_refused():
    @tf.function(jit_compile=True)
    def run(boxes, scores):
        kept = tf.reshape(tf.where(scores[:, 0, 0] > 0.5), [-1])
        return ops.non_max_suppression(
            tf.gather(boxes, kept), tf.gather(scores, kept), impl="fused"
        )

    with pytest.raises(tf.errors.UnimplementedError, match="must not depend on values"):
        run(*map(tf.constant, random_case(0)))


@pytest.mark.parametrize("suppression", ("hard", "linear"))
@pytest.mark.parametrize("impl", IMPLS)
def test_no_gradient_flows(impl, suppression):
    boxes, scores = map(tf.constant, random_case(0))

    def gradients(boxes, scores):
        with tf.GradientTape() as tape:
            tape.watch((boxes, scores))
            found = ops.non_max_suppression(boxes, scores, impl=impl, suppression=suppression)
            total = tf.reduce_sum(found[0]) + tf.reduce_sum(found[1])
        return [gradient is None for gradient in tape.gradient(total, (boxes, scores))]

    assert gradients(boxes, scores) == [True, True]
    seen = []
    tf.function(lambda *case: seen.extend(gradients(*case)))(boxes, scores)
    assert seen == [True, True]


@pytest.mark.parametrize(
    "impl, suppression", (("fused", "hard"), ("fused", "linear"), ("reference", "linear"))
)
def test_shapes_are_inferred(impl, suppression):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, 4], tf.float32),
            tf.TensorSpec([3, None, 20], tf.float32),
        ]
    )
    def run(boxes, scores):
        rule = dict(max_detections=7, suppression=suppression)
        return ops.non_max_suppression(boxes, scores, impl=impl, **rule)

    shapes = [list(output.shape) for output in run.get_concrete_function().outputs]
    assert shapes == [[3, 7, 4], [3, 7], [3, 7], [3]]


@pytest.mark.on_cpu
def test_the_hard_rule_is_said_as_ever():
    """Graphs and libraries from before there were others know no further words."""
    old = "score_threshold=0.25 iou_threshold=0.5 max_detections=7 clip=True"
    assert kernels.nms_config(0.25, 0.5, 7, True, "hard", 0.1) == old
    assert kernels.nms_config(0.25, 0.5, 7, True, "linear", 0.1) == (
        old + " suppression=linear sigma=0.1"
    )
    case = random_case(2)
    want = kernels.non_max_suppression(*case, score_threshold=0.25, max_detections=7)
    for words in ("", " suppression=hard", " suppression=hard sigma=0.5"):
        got = kernels.call("Yolov1>NonMaxSuppression", old + words, case)
        assert bits(got[:4]) == bits(want)


# ---------------------------------------------------------------------------------------- refusals

BAD_SHAPES = (  # of boxes and scores
    ((2, 3), (2, 3, 4)),
    ((2, 3, 5), (2, 3, 4)),
    ((2, 3, 4), (2, 4, 4)),
    ((2, 3, 4), (1, 3, 4)),
    ((2, 3, 4), (2, 3)),
)


@pytest.mark.parametrize("boxes, scores", BAD_SHAPES)
def test_shapes_that_do_not_fit_are_refused(boxes, scores):
    message = re.escape("boxes_xyxy must be [N, K, 4] and scores [N, K, C], got ")
    case = np.zeros(boxes, np.float32), np.zeros(scores, np.float32)
    for impl in IMPLS:
        with pytest.raises(ValueError, match=message):
            ops.non_max_suppression(*case, impl=impl)
    with pytest.raises(ValueError, match=message):
        kernels.non_max_suppression(*case)

    @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec(None)])
    def late(boxes, scores):
        return ops.non_max_suppression(boxes, scores, impl="fused")

    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        late(*case)


@pytest.mark.parametrize(
    "options, message",
    (
        ({"score_threshold": np.nan}, "score_threshold must be a number, got nan"),
        ({"iou_threshold": 1.5}, "iou_threshold must be from 0 to 1, got 1.5"),
        ({"iou_threshold": -0.1}, "iou_threshold must be from 0 to 1, got -0.1"),
        ({"iou_threshold": np.nan}, "iou_threshold must be from 0 to 1, got nan"),
        ({"max_detections": 0}, "max_detections must be from 1 to 2^31 - 1, got 0"),
        ({"max_detections": 2**31}, "from 1 to 2^31 - 1, got 2147483648"),
        ({"suppression": "soft"}, "suppression must be one of hard, linear, gaussian, got soft"),
        (
            {"suppression": "linear", "score_threshold": -0.1},
            "score_threshold must be at least 0 with suppression='linear', which would raise a "
            "negative score, got -0.1",
        ),
        ({"suppression": "gaussian", "sigma": 0}, "sigma must be from 1e-30 to 1e30, got 0.0"),
        ({"sigma": np.nan}, "sigma must be from 1e-30 to 1e30, got nan"),
        ({"impl": "fast"}, "impl must be 'auto', 'fused' or 'reference', got 'fast'"),
    ),
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=f"non_max_suppression: .*{re.escape(message)}"):
        ops.non_max_suppression(*random_case(0), **options)


@pytest.mark.parametrize(
    "change, message",
    (
        ({"iou_threshold=0.5": "iou_threshold=1.5"}, "iou_threshold=a number from 0 to 1, got"),
        ({"score_threshold=0.001": "score_threshold=nan"}, "score_threshold=a number, got 'nan'"),
        ({"max_detections=300": ""}, "max_detections=an integer from 1 to 2^31 - 1, got ''"),
        ({"clip=True": "clip=yes"}, "clip=False|True, got 'yes'"),
        ({"gaussian": "soft"}, "suppression=hard|linear|gaussian, got 'soft'"),
        ({"sigma=0.5": ""}, "sigma=a number from 1e-30 to 1e30, got ''"),
        ({"sigma=0.5": "sigma=0"}, "sigma=a number from 1e-30 to 1e30, got '0'"),
        ({"score_threshold=0.001": "score_threshold=-1"}, "score_threshold=a number of at least 0"),
    ),
)
def test_a_broken_configuration_is_refused(change, message):
    (old, new), *_ = change.items()
    config = kernels.nms_config(0.001, 0.5, 300, True, "gaussian").replace(old, new)
    message = re.escape(f"non_max_suppression: config needs {message}")
    with pytest.raises(ValueError, match=message):
        kernels.call("Yolov1>NonMaxSuppression", config, random_case(0))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        _library.load().yolov1_non_max_suppression(*random_case(0), config)


@pytest.mark.slow
@pytest.mark.on_cpu
def test_results_that_do_not_fit_in_memory_are_refused():
    boxes, scores = np.zeros((2**12, 1, 4), np.float32), np.zeros((2**12, 1, 1), np.float32)
    with pytest.raises((tf.errors.ResourceExhaustedError, MemoryError)):
        ops.non_max_suppression(boxes, scores, max_detections=2**31 - 1, impl="fused")


@pytest.mark.on_cpu
def test_overlaps_that_do_not_fit_in_memory_are_refused():
    """A row for each of a million boxes: a terabyte. Only rows that are needed are ever touched."""
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1":
        pytest.skip("this system promises memory that it does not have")
    case = np.zeros((1, 2**20, 4), np.float32), np.zeros((1, 2**20, 1), np.float32)
    with pytest.raises(MemoryError):
        kernels.non_max_suppression(*case, max_detections=2**20)
    message = "non_max_suppression: out of memory"
    with pytest.raises(tf.errors.ResourceExhaustedError, match=message):
        ops.non_max_suppression(*case, max_detections=2**20, impl="fused")


@pytest.mark.on_cpu
def test_without_the_library_auto_takes_the_reference(monkeypatch):
    monkeypatch.setattr(_library, "_kernels", lambda op: {})
    boxes, scores = random_case(1)
    want = suppress(boxes, scores)
    assert_equal(call(boxes, scores, "auto"), want)
    with pytest.raises(NotImplementedError, match="no fused kernel for float32 on CPU"):
        call(boxes, scores, "fused")


@pytest.mark.on_cpu
@pytest.mark.parametrize(
    "impl, on_request, op, place",
    (
        ("auto", (), "Yolov1>NonMaxSuppression", ""),
        ("fused", ("GPU",), "Yolov1>NonMaxSuppression", ""),
        ("auto", ("GPU",), "Yolov1>NonMaxSuppression", "/device:CPU:0"),
        ("reference", (), "CombinedNonMaxSuppression", ""),
    ),
)
def test_where_it_runs_beside_a_gpu(impl, on_request, op, place, monkeypatch):
    """The GPU's kernel leaves the boxes there; before it counts as tested they go to the CPU's."""
    monkeypatch.setattr(sys.modules["yolov1.ops.nms"], "device", lambda tensor: "GPU")
    kernels_there = dict.fromkeys(("CPU", "GPU"), ("float32",))
    monkeypatch.setattr(_library, "_kernels", lambda op: kernels_there)
    monkeypatch.setattr(_library, "ON_REQUEST", {"non_max_suppression": on_request})
    run = tf.function(lambda *case: ops.non_max_suppression(*case, impl=impl))
    graph = run.get_concrete_function(*map(tf.constant, random_case(0))).graph
    (node,) = [x for x in graph.get_operations() if "NonMaxSuppression" in x.type]
    assert (node.type, node.device) == (op, place)


@pytest.mark.parametrize(
    "choice, wrong",
    (
        ("score_threshold", tf.constant(0.5)),
        ("iou_threshold", "0.5"),
        ("max_detections", 2.5),
        ("clip", "yes"),
        ("suppression", None),
        ("sigma", "0.5"),
    ),
)
def test_what_is_no_number_is_refused(choice, wrong):
    with pytest.raises(TypeError, match=f"{choice} must be .*, got {type(wrong).__name__}"):
        ops.non_max_suppression(*random_case(0), **{choice: wrong})
