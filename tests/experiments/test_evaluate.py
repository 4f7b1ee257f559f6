import json

import pytest

from tests.data.folders import write_image, write_voc

SIZE = (64, 64)
CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
# Of 64 x 64 pixels: where the network sees them.
CIRCLES = [("circle", (x, y, x + 16, y + 16), False) for x in (8, 40) for y in (8, 40)]


def test_the_split_of_the_run(known_run, call_experiment, tmp_path):
    result = call_experiment(
        "evaluate", f"--checkpoint={known_run}", f"--output_dir={tmp_path}", "--debug"
    )
    assert result.returncode == 0, result.stderr[-2000:]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {"map_voc07", "map_area", "map_coco", "ap_per_class"} <= set(summary)
    assert summary["seconds"] > 0 and summary["images_per_second"] > 0
    assert summary["images"] <= 32 and summary["dataset"] == "shapes:count=8"
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["classes"]["circle"]["detections"] == 4 * summary["images"]
    assert evaluation["map_voc07"] == summary["map_voc07"]
    boxes = summary["responsible_boxes"]
    assert boxes == evaluation["responsible_boxes"]
    assert 0 < boxes["objects"] <= 4 * summary["images"] and 0 < boxes["iou"] < 1
    assert f"responsible boxes of {boxes['objects']} objects\n" in result.stdout
    assert f"{boxes['iou']:.4f}" in result.stdout
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "precision_recall.png",
        "average_precision.png",
        "errors.png",
    }
    assert 0 < len(list((tmp_path / "pictures").glob("*.jpg"))) <= 12
    worst = evaluation["shortcomings"]["worst"]
    assert worst and len(list((tmp_path / "pictures/worst").iterdir())) == len(worst)
    assert "shortcomings" not in summary
    page = (tmp_path / "report.html").read_text()
    assert "What is wrong" in page and page.count("<img") > len(worst)
    assert f"{known_run} · shapes:count=8 · test" in page
    assert "<span>evaluation</span>" in page and "<span>training</span>" not in page


def test_another_data_set(known_run, call_experiment, tmp_path):
    """Two images of four circles where the network sees them, and a class that it never sees."""
    star = ("star", (0, 0, 20, 20), False)
    annotations = {"a": CIRCLES, "b": [*CIRCLES, star], "c": "<annotation>"}
    root = write_voc(tmp_path / "voc", annotations, CLASSES, SIZE, split="test")
    arguments = [f"--checkpoint={known_run}", f"--dataset=voc:{root}", "--bad_examples=skip"]
    result = call_experiment("evaluate", *arguments, "--pictures=1")
    assert result.returncode == 0, result.stderr[-2000:]
    output = known_run / "evaluate"
    summary = json.loads((output / "summary.json").read_text())
    assert summary["ap_per_class"]["circle"] == pytest.approx(1)
    assert summary["ap_per_class"]["star"] == 0
    assert summary["ap_per_class"]["ring"] is None
    assert summary["map_voc07"] == pytest.approx(0.5)
    # The star's cell is taken by a circle; the network's outputs are those of `known_run`.
    assert summary["responsible_boxes"] == pytest.approx(
        {
            "objects": 8,
            **{"iou": 1, "recall50": 1, "recall75": 1},
            **{"class_probability": 1, "any_class_probability": 1 / 6},
            **{"object_confidence": 0.8, "any_confidence": 0.8},
        },
        rel=1e-5,
    )
    assert [reason for _, reason in summary["skipped"]] and "c.xml" in summary["skipped"][0][0]
    assert len(list((output / "pictures").glob("*.jpg"))) == 1
    evaluation = json.loads((output / "evaluation.json").read_text())
    wrong = evaluation["shortcomings"]
    cells = {name: wrong["cells"][name]["objects"] for name in ("alone", "kept", "dropped")}
    assert cells == {"alone": 7, "kept": 1, "dropped": 1}
    assert wrong["cells"]["dropped"] == {"objects": 1, "found": 0, "found_at_all": 0}
    (missed,) = wrong["worst"]
    assert missed["object"]["class"] == "star" and missed["image"] == "b"
    assert missed["detection"] is None  # the circle beside it is one's own


def test_a_folder_without_a_run_is_named(call_experiment, tmp_path):
    result = call_experiment("evaluate", f"--checkpoint={tmp_path}")
    assert result.returncode != 0
    assert "holds no run" in result.stderr


def test_coco_results_are_measured_by_the_ids_of_their_data_set(call_experiment, tmp_path):
    """The ids of images and categories are the instances file's, whatever the files are called."""
    boxes = {7: [10, 10, 20, 30], 3: [0, 0, 40, 20]}
    for number in boxes:
        write_image(tmp_path / f"coco/images/picture {number}.jpg")
    instances = {
        "images": [
            {"id": number * 100, "file_name": f"picture {number}.jpg", "height": 40, "width": 60}
            for number in boxes
        ],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": n * 100, "category_id": 9, "bbox": box, "area": 1, "iscrowd": 0}
            for n, box in boxes.items()
        ],
    }
    annotations = tmp_path / "coco/annotations/instances_val.json"
    annotations.parent.mkdir()
    annotations.write_text(json.dumps(instances))
    found = [
        {"image_id": n * 100, "category_id": 9, "bbox": box, "score": 0.5}
        for n, box in boxes.items()
    ]
    (tmp_path / "results.json").write_text(json.dumps(found[:1] + 2 * [found[1]]))
    result = call_experiment(
        *("evaluate", f"--detections={tmp_path}/results.json", "--eval_split=val"),
        *(f"--dataset=coco:{tmp_path}/coco", "--pictures=1"),
    )
    assert result.returncode == 0, result.stderr
    assert "remark: 1 of 3 boxes are there twice" in result.stdout
    summary = json.loads((tmp_path / "evaluate/summary.json").read_text())
    assert summary["ap_per_class"] == {"cat": None, "dog": pytest.approx(1)}
    assert summary["remarks"] and "val_loss" not in summary and "checkpoint" not in summary
    wrong = json.loads((tmp_path / "evaluate/evaluation.json").read_text())["shortcomings"]
    assert wrong["tide"]["duplicate"]["count"] == 1 and wrong["cells"] is None
    assert (tmp_path / "evaluate/pictures/worst/000.jpg").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "Give --checkpoint, a run, or --detections"),
        (["--checkpoint=a", "--detections=b"], "Give --checkpoint, a run, or --detections"),
        (["--detections=b", "--comp4=c"], "--comp4 is of a network"),
        (["--detections=b"], "--detections needs --dataset"),
        (["--detections=none", "--dataset=shapes:count=1"], "No such file"),
    ],
)
def test_flags_that_do_not_go_together(arguments, said, call_experiment):
    result = call_experiment("evaluate", *arguments)
    assert result.returncode != 0 and said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
