"""What the words of a study mean."""

import pytest

from yolov1.studies import plan


def test_a_grid():
    vary = plan.parse_vary("semantics=paper,darknet; semantics_options=box=squared,box=ciou")
    assert vary == {
        "semantics": ["paper", "darknet"],
        "semantics_options": ["box=squared", "box=ciou"],
    }
    spaced = "semantics = paper , darknet ; semantics_options = box=squared , box=ciou"
    assert plan.parse_vary(spaced) == vary
    variants = plan.with_folders(plan.grid(vary))
    assert [variant.name for variant in variants] == [
        "semantics=paper;semantics_options=box=squared",
        "semantics=paper;semantics_options=box=ciou",
        "semantics=darknet;semantics_options=box=squared",
        "semantics=darknet;semantics_options=box=ciou",
    ]
    assert variants[0].folder == variants[0].name
    words = ["--semantics=paper", "--semantics_options=box=ciou"]
    assert variants[1].words(seed=3) == words


def test_values_with_commas_and_empty_ones():
    vary = plan.parse_vary("semantics_options=|box=ciou,weight_xy=2")
    assert vary == {"semantics_options": ["", "box=ciou,weight_xy=2"]}
    (variant,) = plan.with_folders([plan.parse_variant("init=runs/seed-{seed};S=14")])
    assert variant.words(seed=2) == ["--init=runs/seed-2", "--S=14"]
    assert "/" not in variant.folder and variant.folder.startswith("init=runs_seed-{seed};S=14-")
    assert plan.parse_variant("").name == plan.AS_GIVEN


@pytest.mark.parametrize("text", ["", "3-1", "1-2-3", "a", "1,1", "0-2,1", "-1", "1.5"])
def test_seeds_that_are_none(text):
    with pytest.raises(ValueError, match="--seeds must be different whole numbers"):
        plan.parse_seeds(text)


def test_seeds():
    assert plan.parse_seeds("0-4") == [0, 1, 2, 3, 4]
    assert plan.parse_seeds("7,0-2") == [7, 0, 1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan.parse_vary("a"), "--vary must be NAME="),
        (lambda: plan.parse_vary("a=1;a=2"), "a is there twice"),
        (lambda: plan.parse_vary("a=1, 1"), "a has a value twice"),
        (lambda: plan.parse_variant("a=1;a=2"), "a flag is there twice"),
        (lambda: plan.parse_variant("=1"), "--variant must be NAME="),
        (lambda: plan.with_folders(map(plan.parse_variant, ["a=1", "a=1"])), "is there twice"),
    ],
)
def test_what_is_no_plan(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_baseline():
    variants = plan.grid({"a": ["1", "2"], "b": ["3"]})
    assert plan.baseline(variants, None) is variants[0]
    assert plan.baseline(variants, "b=3;a=2") is variants[1]
    assert plan.baseline([plan.Variant(())], plan.AS_GIVEN).flags == ()
    assert plan.baseline([], None) is None
    with pytest.raises(ValueError, match="one of the variants 'a=1;b=3', 'a=2;b=3', got 'a=2'"):
        plan.baseline(variants, "a=2")


def test_ranges():
    assert plan.parse_range("x", ["log:1e-4..1e-2"], float) == plan.Range(1e-4, 1e-2, log=True)
    found = plan.parse_range("x", ["8..32"], int)
    assert found == plan.Range(8, 32) and isinstance(found.low, int)
    assert plan.parse_range("x", ["a", "b"], str) == ["a", "b"]
    for text, kind in (("2..1", int), ("a..b", float), ("log:0..1", float), ("1..2", str)):
        with pytest.raises(ValueError, match="x must have values"):
            plan.parse_range("x", [text], kind)
