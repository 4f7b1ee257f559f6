"""The report: complete in itself, true to the run, unmoved by hostile names and missing parts."""

import html.parser
import json
import re
import shutil

import pytest

from tests.reporting.conftest import make_run
from yolov1.reporting import sections, write_report

# Of a training; the layers of a network are shown of one that came from files, exports, watched
# images and what is wrong where there are some (see test_watched, test_shortcomings).
OF_SOME = ("Network", "Exports", "Watched images", "What is wrong", "Worst errors")
SECTIONS = [heading for heading, _ in sections.SECTIONS if heading not in OF_SOME]
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(html.parser.HTMLParser):
    """Tags, attributes, headings and text of a page; refuses unbalanced elements."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.headings, self.open = set(), [], "", [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self.open[-1:] != ["style"]:
            self.text += data + "\n"


def read(run_dir):
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_it_is_complete_in_itself(run_dir):
    text = write_report(run_dir).read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]", text.replace("data:image/jpeg;base64,/9j/", ""))
    page = Page(text)
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    addresses = [v for _, name, v in page.attributes if name in ("src", "href", "xlink:href")]
    assert addresses and all(re.match("#|data:image/", address) for address in addresses)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert sum(address.startswith("data:") for address in addresses) == 5


def test_it_shows_the_run(run_dir):
    page = read(run_dir)
    assert page.headings == SECTIONS
    words = page.text.split("\n")
    for expected in ("94.0 %", "3 min 41 s", "768,877", "162", "40"):  # the headline
        assert expected in words
    for expected in (
        "disc",
        "96.0 %",
        "219",
        "truncated JPEG",
        "box clipped to the image",
        "S = 14",
        "0.2 %",
        "2.21.0",
        *("objects", "1,234", "iou", "0.765", "any confidence", "0.0123"),
    ):
        assert expected in words
    # 40 epochs of 0.4, 5.1, 0.25 and 0.05 s, four evaluations of 4 s.
    for part, time, share in (
        ("waiting for input", "16 s", "6.5 %"),
        ("training step", "3 min 24 s", "82.3 %"),
        ("evaluation", "16 s", "6.5 %"),
        ("checkpoints", "10 s", "4.0 %"),
        ("the rest", "2 s", "0.8 %"),
    ):
        row = [word for word in words[words.index(part) :] if word]
        assert row[:3] == [part, time, share]
    assert "Not shown" not in page.text
    widths = [v for _, name, v in page.attributes if name == "style" and v.startswith("width:")]
    assert "width:96.0%" in widths
    labels = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
    assert {"Loss of an image", "Its terms", "Learning rate"} < set(labels)


def test_a_run_of_an_earlier_version_shows_what_it_has(run_dir):
    """Without the seconds of evaluation, checkpoints and the rest."""
    rows = [row.rsplit(",", 3)[0] for row in (run_dir / "metrics.csv").read_text().splitlines()]
    (run_dir / "metrics.csv").write_text("\n".join(rows))
    page = read(run_dir)
    assert page.headings == SECTIONS
    words = page.text.split("\n")
    assert "waiting for input" in words and "7.3 %" in words  # 0.4 of 5.5 s
    assert "checkpoints" not in words and "the rest" not in words
    labels = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
    assert "Seconds of an epoch" in labels


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{$ ]]> --> </style></svg>",
    "_hidden & $10 to $20",
    "人 🐦",
)


def test_hostile_names_are_text(tmp_path):
    run_dir = make_run(tmp_path / "<i>run", classes=HOSTILE)
    (run_dir / "pictures" / "00-shape.jpg").rename(run_dir / "pictures" / '"onload=x <i>.jpg')
    config = json.loads((run_dir / "config.json").read_text())
    config["config"]["dataset"] = "voc:<script src=x>"
    config["environment"] |= {"gpus": ["<u>GPU</u>"], "machine": "half a pair \ud83d"}
    (run_dir / "config.json").write_text(json.dumps(config))
    page = read(run_dir)
    assert not page.tags & {"script", "i", "u"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    images = [v for tag, name, v in page.attributes if tag == "img" and name == "src"]
    assert len(images) == 5 and all(source.startswith("data:") for source in images)
    for name in (*HOSTILE, '"onload=x <i>', "<u>GPU</u>", "<i>run", "half a pair ?"):
        assert name in page.text
    # In the table, in both tables of the data, and in the legend of the chart.
    for name in HOSTILE:
        assert page.text.count(name) >= 4, name


def test_the_layers_of_a_network_from_files(run_dir):
    no_range = dict.fromkeys(("low", "high", "deviation"))
    layers = [
        {
            **{"index": 0, "section": "convolutional", "output": [16, 112, 96]},
            "options": {"filters": "16", "size": "3", "batch_normalize": "1", "stride": "2"},
            **{"parameters": 300, "from_file": True, "low": -0.25, "high": 0.5, "deviation": 0.125},
        },
        {
            **{"index": 1, "section": "maxpool", "output": [16, 56, 48], "options": {"size": "2"}},
            **{"parameters": 0, "from_file": False, **no_range},
        },
        {
            **{"index": 2, "section": "connected", "output": [7, 1, 1], "options": {}},
            **{"parameters": 700, "from_file": False, "low": -1, "high": 1, "deviation": 0.5},
        },
    ]
    darknet = {"cfg": "a<b>.cfg", "weights": "w", "version": None, "seen": 64, "bytes": 1234567}
    darknet |= {"layers": layers, "remarks": ["line 3: size is there twice"]}
    (run_dir / "darknet.json").write_text(json.dumps(darknet))
    page = read(run_dir)
    assert page.headings == ["Network", *SECTIONS]
    for text in (
        *("a<b>.cfg", "header of 2015", "1,234,567 bytes", "64 images seen"),
        *("0 convolutional", "16 of 3 × 3, every 2, batch norm", "112 × 96 × 16", "30.0 %"),
        *("-0.25 .. 0.5", "1 maxpool", "not in the file: as it was drawn", "1 × 1 × 7"),
        *("Remarks on the files: 1", "line 3: size is there twice", "Weights of each layer"),
    ):
        assert text in page.text, text
    (run_dir / "darknet.json").write_text("{")
    page = read(run_dir)
    assert page.headings == SECTIONS and "darknet.json (unreadable" in page.text


def test_exports_are_shown_with_what_they_cost(run_dir):
    row = {"format": "onnx", "precision": "int8", "nms": "inside", "input": "float32"}
    measured = {
        **{"file": "a<b>-int8.onnx", "bytes": 860_000, "ms": 1.5, "run_ms": 3.0},
        **{"prediction_deviation": 0.25, "map_voc07": 0.9, "map_coco": None},
        "boxes": {
            **{"boxes": 1234, "deviation_px": 6.5, "deviation_px_99": 2.25},
            **{"appeared": 17, "disappeared": 19},
        },
        "change": {"map_voc07": -0.0123, "map_coco": None},
        "exceeded": [{"figure": "map", "value": 0.0123, "allowed": 0.01}],
    }
    export = {
        **{"command": "python -m experiments.export", "dataset": "shapes", "split": "test"},
        **{"images": 300, "grid": {"image_size": 112}},
        "run": {"map_voc07": 0.9123, "map_coco": 0.7, "bytes": 3_080_000},
        "exports": [
            row | measured,
            row | {"format": "keras", "left_out": "keras has float32"},
            row | {"format": "tflite", "file": "t", "error": "RuntimeError: <no>"},
        ],
    }
    (run_dir / "export").mkdir()
    (run_dir / "export/export.json").write_text(json.dumps(export))
    page = read(run_dir)
    assert "Exports" in page.headings and len(page.headings) == len(SECTIONS) + 1
    words = page.text.split("\n")
    for text in (
        *("onnx int8", "0.86", "1.5", "0.50", "2.5e-01", "6.500", "2.250", "1,234", "17", "19"),
        *("90.0 %", "-1.23", "91.2 %", "3.08", "a<b>-int8.onnx: map 0.0123, allowed 0.01."),
        *("keras int8: keras has float32", "tflite int8: RuntimeError: <no>"),
    ):
        assert text in words, text
    (run_dir / "export/export.json").write_text("[]")
    page = read(run_dir)
    assert page.headings == SECTIONS and "export.json (unreadable" in page.text


PARTS = {
    "metrics.csv": {"Learning curves", "Time"},
    "dataset.json": {"Data"},
    "pictures": {"Sample predictions"},
    "config.json": {"Configuration and environment"},
    "evaluation.json": set(),  # summary.json has the figures of each class
    "summary.json": set(),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_left_out_and_named(run_dir, part):
    target = run_dir / part
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    page = read(run_dir)
    assert page.headings == [heading for heading in SECTIONS if heading not in PARTS[part]]
    assert f"{part}" in page.text.split("Not shown: ")[1]


@pytest.mark.parametrize("content", ["", '{"train": {', "[1, 2]", "\ufffd\x00"])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content, encoding="utf-8")
    page = read(tmp_path)
    assert page.headings == []
    assert "dataset.json (unreadable" in page.text


def test_an_empty_run(tmp_path):
    page = read(tmp_path)
    assert page.headings == [] and "metrics.csv (not there)" in page.text
    with pytest.raises(FileNotFoundError, match="expected the directory of a run, got .*nowhere"):
        write_report(tmp_path / "nowhere")


def test_a_run_without_finds(run_dir):
    """Null figures and empty curves: a class without objects, a detector that finds nothing."""
    evaluation = json.loads((run_dir / "evaluation.json").read_text())
    evaluation |= {"map_voc07": None, "errors": None}
    evaluation["responsible_boxes"] = {"objects": 0, "iou": None}
    evaluation["classes"]["disc"] |= {"ap_voc07": None, "ap_area": None, "ap_coco": None}
    evaluation["classes"]["disc"] |= {"precision": [], "recall": [], "truth": 0}
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation))
    (run_dir / "summary.json").write_text(json.dumps({"map_voc07": None}))
    rows = (run_dir / "metrics.csv").read_text().splitlines()
    (run_dir / "metrics.csv").write_text("\n".join([rows[0], "1,19,," + "nan," * 11 + ",,,,"]))
    page = read(run_dir)
    assert "Learning curves" not in page.headings
    assert "disc\n–\n" in page.text and "objects\n0\niou\n–\n" in page.text


def test_many_pictures_and_many_classes(tmp_path):
    run_dir = make_run(tmp_path / "run", classes=[f"class {k}" for k in range(9)])
    first = run_dir / "pictures" / "00-shape.jpg"
    for k in range(30):
        shutil.copy(first, run_dir / "pictures" / f"more-{k}.JPG")
    page = read(run_dir)
    assert sum(tag == "img" and name == "src" for tag, name, _ in page.attributes) == 24
    assert "11 more in pictures/." in page.text
    charts = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
    assert charts.count("Precision over recall at IoU 0.5, and area") == 2  # seven classes in each


def test_the_same_run_gives_the_same_page(run_dir):
    first = write_report(run_dir).read_bytes()
    assert write_report(run_dir).read_bytes() == first
    assert not list(run_dir.glob("*.partial"))


def test_a_classifiers_run(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,loss,val_loss,accuracy\n1,2,2.5,\n2,1,1.5,0.25\n")
    (tmp_path / "summary.json").write_text('{"accuracy": 0.25, "val_loss": 1.5}')
    page = read(tmp_path)
    assert "25.0" in page.text and "accuracy" in page.text
    labels = [value for _, name, value in page.attributes if name == "aria-label"]
    assert "Accuracy on the evaluation split" in labels and "Its terms" not in labels
