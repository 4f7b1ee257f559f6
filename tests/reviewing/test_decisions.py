"""What is decided in the table is what is done; what no longer fits is named."""

import numpy as np
import pytest

from tests.reviewing.labels import CLASSES, dataset, detections, example, perfect
from yolov1 import data
from yolov1.data import Dataset
from yolov1.reviewing import FAULTS, decisions, plant, suspects
from yolov1.reviewing.boxes import corners

A, B, C = (0.1, 0.1, 0.3, 0.5), (0.5, 0.1, 0.7, 0.5), (0.1, 0.6, 0.3, 0.9)
OFF_A = (0.2, 0.1, 0.4, 0.5)


def table_of(found, reviewed, path):
    """As a person gets it: written and read."""
    decisions.write(path, decisions.rows(found, reviewed))
    return decisions.read(path)


@pytest.fixture
def reviewed():
    """A data set with one suspect of each kind, one an image, and the network's view of it."""
    labels = dataset([], [("cat", A)], [("cat", A)], [("cat", A)], [("cat", A), ("cat", A)])
    return labels, detections(
        [("dog", B, 0.9)], [], [("cat", OFF_A, 0.9)], [("fox", A, 0.9)], [("cat", A, 0.9)]
    )


@pytest.fixture
def table(reviewed, tmp_path):
    """The table of its suspects, of which nothing is decided."""
    labels, seen = reviewed
    return table_of(suspects(seen, labels), labels, tmp_path / "review.csv")


def accepted(table):
    """All its proposals."""
    return [row | {"decision": "accept"} for row in table]


def test_the_table(table, tmp_path):
    assert (tmp_path / "review.csv").read_bytes().startswith(b"\xef\xbb\xbfrank,decision,")
    rows = {row["kind"]: row for row in table}
    assert [row["rank"] for row in table] == ["1", "2", "3", "4", "5"]
    assert {row["decision"] for row in table} == {""}
    assert rows["missing"]["new_class"] == "dog" and rows["missing"]["class"] == ""
    assert rows["missing"]["new_box"] == "100 10 140 50"  # of 200 x 100 pixels
    assert rows["unseen"]["box"] == "20 10 60 50" and rows["unseen"]["new_box"] == ""
    assert rows["misplaced"]["proposal"] == "move" and rows["misplaced"]["iou"] == "0.333"
    assert rows["disputed"]["class"] == "cat" and rows["disputed"]["new_class"] == "fox"
    assert rows["duplicate"]["proposal"] == "remove"


def test_accepting_everything(reviewed, table):
    labels, seen = reviewed
    examples, done, refused = decisions.apply(accepted(table), labels)
    assert refused == []
    assert done == {"add": 1, "remove": 2, "move": 1, "rename": 1, "keep": 0, "undecided": 0}
    assert [[labels.classes[k] for k in e.labels] for e in examples] == [
        ["dog"], [], ["cat"], ["fox"], ["cat"]
    ]  # fmt: skip
    assert corners(examples[0]) == pytest.approx(np.array([B]))
    assert corners(examples[2]) == pytest.approx(np.array([OFF_A]))
    assert suspects(seen, Dataset(examples, labels.classes)) == []


def test_other_decisions_than_the_proposal(reviewed, table):
    labels, _ = reviewed
    by_kind = {row["kind"]: row for row in table}
    by_kind["missing"] |= {"decision": "add", "new_class": "fox", "new_box": "0, 0, 50.5, 25"}
    by_kind["unseen"] |= {"decision": "keep"}
    by_kind["misplaced"] |= {"decision": "remove"}
    by_kind["disputed"] |= {"decision": "move", "new_box": "20 10 62 50"}
    examples, done, refused = decisions.apply(table, labels)
    assert refused == []
    assert done == {"add": 1, "remove": 1, "move": 1, "rename": 0, "keep": 1, "undecided": 1}
    assert examples[1] is labels[1] and examples[4] is labels[4]  # nothing was decided
    assert corners(examples[0]) == pytest.approx(np.array([[0, 0, 0.2525, 0.25]]))
    assert examples[3].labels.tolist() == [0]
    assert corners(examples[3]) == pytest.approx(np.array([[0.1, 0.1, 0.31, 0.5]]))
    assert not len(examples[2].labels)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("unseen", {"image": "elsewhere"}, "has no image 'elsewhere'"),
        ("unseen", {"box": "20 10 61 50"}, "no label 'cat' is at 20 10 61 50"),
        ("unseen", {"class": "dog"}, "no label 'dog' is at"),
        ("missing", {"new_class": "cow"}, "new_class must be of cat, dog, fox; got 'cow'"),
        ("missing", {"new_box": "1 2 3"}, "new_box must be 'left top right bottom' in pixels"),
        ("missing", {"new_box": "a b c d"}, "new_box must be"),
        ("missing", {"new_box": "300 1 400 9"}, "no area inside the image of 200 x 100"),
        ("missing", {"new_box": "9 1 3 9"}, "no area inside the image"),
        ("missing", {"decision": "remove"}, "it is about no label"),
        ("unseen", {"decision": "rename"}, "new_class must be"),
        ("unseen", {"decision": "move"}, "new_box must be"),
        ("unseen", {"decision": "accept", "proposal": "burn"}, "must be of add, remove"),
    ],
)
def test_what_does_not_fit_is_named_and_left_out(reviewed, table, kind, change, said):
    labels, _ = reviewed
    row = next(row for row in table if row["kind"] == kind)
    row |= {"decision": "accept"} | change
    examples, done, refused = decisions.apply(table, labels)
    ((where, reason),) = refused
    assert f"line {row['line']} " in where and said in reason
    assert all(a is b for a, b in zip(examples, labels, strict=True))
    assert done["undecided"] == 4 and sum(done.values()) == 4


def test_labels_that_changed_since(reviewed, table):
    """One that was added by now is not added once more, and none is changed twice."""
    labels, _ = reviewed
    table = accepted(table)
    examples, _, _ = decisions.apply(table, labels)
    again = Dataset(examples, labels.classes, name="corrected")
    examples, done, refused = decisions.apply(table, again)
    assert len(refused) == 4 and done["remove"] == 1  # that of the two on one place that is left
    assert any("is there by now, with an IoU of 1.00" in reason for _, reason in refused)
    row = next(row for row in table if row["kind"] == "unseen")
    _, done, refused = decisions.apply([row, row], labels)
    assert done["remove"] == 1 and "changed this label already" in refused[0][1]


def test_difficult_labels_and_other_boxes_keep_their_bits(tmp_path):
    box = (0.123456789, 0.2, 0.3, 0.5)
    labels = Dataset([example("a", [("cat", box), ("dog", B)], difficult=[0])], CLASSES)
    table = table_of(suspects(detections([]), labels), labels, tmp_path / "review.csv")
    table[0]["decision"] = "remove"
    ((after,), _, _) = decisions.apply(table, labels)
    assert after.difficult.tolist() == [True]
    assert np.array_equal(after.boxes_cxcywh, labels[0].boxes_cxcywh[:1])


def test_a_spreadsheet_may_have_written_it(reviewed, tmp_path):
    labels, seen = reviewed
    path = tmp_path / "review.csv"
    expected = table_of(suspects(seen, labels), labels, path)
    path.write_text(path.read_text("utf-8").replace(",", ";").replace("\r\n", "\n"), "utf-8")
    got = decisions.read(path)
    assert [row | {"line": 0} for row in got] == [row | {"line": 0} for row in expected]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no table of a review: it has no column decision, proposal"),
        ("", "no table of a review"),
        (
            "decision,proposal,image,class,box,new_class,new_box\nyes,add,a,,,cat,1 2 3 4\n",
            "line 2: a decision must be empty or of keep, accept, add, remove, move, rename; "
            "got 'yes'",
        ),
    ],
)
def test_refused_tables(tmp_path, text, said):
    (tmp_path / "review.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        decisions.read(tmp_path / "review.csv")


def test_planted_faults_reviewed_and_accepted_give_the_labels_back(tmp_path):
    original = data.open("shapes:count=40", image_size=64)
    kinds = [kind for kind in FAULTS]
    planted, faults = plant(original, 0.3, kinds=kinds, seed=5)
    table = table_of(suspects(seen_of(original), planted), planted, tmp_path / "review.csv")
    assert len(table) == len(faults)
    examples, done, refused = decisions.apply(accepted(table), planted)
    assert refused == [] and sum(done.values()) == len(faults)
    for before, after in zip(original, examples, strict=True):
        assert sorted(before.labels) == sorted(after.labels)
        rows = [sorted(zip(e.labels, corners(e).tolist(), strict=True)) for e in (before, after)]
        for (_, box), (_, other) in zip(*rows, strict=True):
            assert np.array(box) * 64 == pytest.approx(np.array(other) * 64, abs=1e-3)


def seen_of(labelled):
    from yolov1.inference import Detections

    return [Detections(corners(e), np.full(len(e.labels), 0.9), e.labels) for e in labelled]


def test_perfect_detections_raise_no_suspicion():
    labels = dataset([("cat", A), ("dog", B)], [("fox", C)])
    assert suspects(perfect(labels), labels) == []
