"""Whatever is wrong with what the user gave: a sentence that names it, and no traceback."""

import json

import pytest

from tests.data.folders import write_voc
from tests.shared import ROOT
from yolov1.data.sources import READERS

EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("[a-z]*.py"))
TRAIN = ("train", "pretrain", "reproduce_keras_voc", "reproduce_tf2_person", "overfit_one_batch")
OF_A_RUN = ("evaluate", "explain", "export", "review")
OPEN = (*TRAIN, "inspect_dataset", "crop_objects", "convert", "compare_losses", *OF_A_RUN)
READ_RUNS = (
    *("bisect", "compare_losses", "compare_runs", "detect", "evaluate", "explain", "export"),
    *("export_darknet", "replay", "review"),
)


@pytest.fixture(scope="module")
def refused(call_experiment, tmp_path_factory):
    """Runs an experiment, which must refuse its arguments and name what is wrong with them."""

    def call(name, *arguments, names):
        place = tmp_path_factory.mktemp("out") / "out"
        folder = "root" if name.startswith("prepare") else "output_dir"
        given = any(str(a).startswith(f"--{folder}=") for a in arguments)
        done = call_experiment(name, *arguments, *(() if given else (f"--{folder}={place}",)))
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        for word in [names] if isinstance(names, str) else names:
            assert word in done.stderr
        return done

    return call


CFG = """[net]
height=32
width=32
channels=3
[convolutional]
filters=2
size=3
stride=16
pad=1
activation=leaky
[connected]
output=28
activation=linear
[detection]
classes=2
coords=4
num=1
side=2
sqrt=1
"""


@pytest.fixture(scope="module")
def of_darknet(call_experiment, tmp_path_factory):
    """(arguments for Darknet's files of a small network, a run that was made of them)."""
    from yolov1 import darknet

    root = tmp_path_factory.mktemp("darknet")
    paths = root / "net.cfg", root / "net.weights"
    darknet.save(darknet.build(darknet.parse_cfg(CFG)), *paths)
    files = f"--cfg={paths[0]}", f"--weights={paths[1]}"
    assert call_experiment("import_darknet", *files, f"--output_dir={root}/run").returncode == 0
    return files, root / "run"


@pytest.fixture(scope="module")
def complete(known_run, of_darknet):
    """The arguments with which an experiment would work, but for what it is about."""

    def arguments(name):
        return {
            "bisect": (known_run, known_run),
            "compare_runs": (f"--runs={known_run}",),
            "detect": (f"--checkpoint={known_run}", f"--images={ROOT / 'README.md'}"),
            "convert": ("--dataset=shapes:count=8", "--to=coco"),
            "evaluate": (f"--checkpoint={known_run}",),
            "explain": (f"--checkpoint={known_run}", "--image=test-00001"),
            "export": (f"--checkpoint={known_run}", "--format=keras"),
            "export_darknet": (f"--checkpoint={of_darknet[1]}",),
            "import_darknet": of_darknet[0],
            "launch": ("--debug",),
            "prepare_open_images": ("--debug",),
            "prepare_voc": ("--debug",),
            "pretrain": ("--dataset=folders:x", "--debug"),
            "study": ("--debug", "--vary=epochs=1,2"),
            "review": (f"--checkpoint={known_run}",),
            "replay": (f"--checkpoint={known_run}", "--step=0"),
        }.get(name, ("--dataset=shapes:count=8", "--debug"))

    return arguments


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Places where there is no data set, by what is wrong with them: KIND:PATH."""
    root = tmp_path_factory.mktemp("places")
    (root / "empty").mkdir()
    (root / "file").write_text("no data set")
    found = {}
    for kind in READERS:
        found |= {f"{kind} {what}": f"{kind}:{root / what}" for what in ("empty", "file", "absent")}
    bad_xml = write_voc(root / "bad_xml", {"a": "<annotation>"})
    (root / "bad.json").write_text('{"images": [')
    (root / "list.json").write_text("[1, 2]")
    (root / "bad_yaml").mkdir()
    (root / "bad_yaml" / "data.yaml").write_text("names: [cat, dog\ntrain: [")
    latin = write_voc(root / "latin", {"a": []})
    (latin / "classes.txt").write_bytes("kühe\nhund".encode("latin-1"))
    return found | {
        "broken XML": f"voc:{bad_xml}",
        "broken JSON": f"coco:{root / 'bad.json'}",
        "no COCO": f"coco:{root / 'list.json'}",
        "broken YAML": f"yolo:{root / 'bad_yaml'}",
        "not UTF-8": f"voc:{latin}",
    }


PLACES = [f"{kind} {what}" for kind in READERS for what in ("empty", "file", "absent")]
PLACES += ["broken XML", "broken JSON", "no COCO", "broken YAML", "not UTF-8"]


OF_SHAPES = ("--dataset=shapes:count=2", "--split=train", "--to=voc")
INTO_A_RUN = ["--checkpoint={run}", "--output_dir={run}"]


def test_every_experiment_is_here():
    # (serve has a folder of tests of its own, study and launch a file.)
    others = {"prepare_voc", "prepare_open_images", "import_darknet", "serve", "study", "launch"}
    assert set(OPEN) | set(READ_RUNS) | others == set(EXPERIMENTS)


def test_flags_of_serve(known_run, call_experiment):
    """It writes nothing, so it has no --output_dir."""
    given = {
        "--nosuch=1": "nosuch",
        "--debug=perhaps": "perhaps",
        "word": "unknown argument 'word'",
    }
    for wrong, named in given.items():
        done = call_experiment("serve", f"--checkpoint={known_run}", wrong)
        assert done.returncode == 1 and named in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(set(EXPERIMENTS) - {"serve"}))
def test_flags(refused, complete, tmp_path, name):
    if name == "study":
        pytest.importorskip("scipy", reason="the extra study is not installed")
    given = complete(name)
    refused(name, *given, "--nosuch=1", names="nosuch")
    refused(name, *given, "--debug=perhaps", names="perhaps")
    if name not in ("detect", "explain", "bisect"):  # whose words are images, and runs
        refused(name, *given, "word", names="unknown argument 'word'")
    folder = "root" if name.startswith("prepare") else "output_dir"
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        if name == "prepare_voc":  # --debug writes nothing
            given = ("--years=2007", "--splits=test", "--base_url=http://127.0.0.1:9")
        if name == "pretrain":
            given = (f"--dataset=folders:{classes_of(tmp_path)}", "--eval_split=train", "--debug")
        if name == "compare_runs":
            continue  # without a finished epoch it gets no further
        refused(name, *given, f"--{folder}={path}", names=str(tmp_path / "file"))


def classes_of(folder):
    from tests.data.folders import write_image

    for name in ("cat", "dog"):
        for k in range(2):
            write_image(folder / "classes" / "train" / name / f"{k}.jpg", size=(64, 64))
    return folder / "classes"


def needed(name, run):
    """The flags without which an experiment of `OPEN` does not begin."""
    of_a_run = dict.fromkeys(OF_A_RUN, (f"--checkpoint={run}",))
    more = {"convert": ("--to=coco",), "explain": (*of_a_run["explain"], "--image=test-00001")}
    return (of_a_run | more).get(name, ())


@pytest.mark.parametrize("place", PLACES)
def test_no_data_set(refused, known_run, places, place):
    """Every reader is the same one to every experiment: one asks all, the others are asked once."""
    spec = places[place]
    # A reader may name the folder of a file.
    names = spec.partition(":")[2].removesuffix("/file")
    refused("inspect_dataset", f"--dataset={spec}", names=names)
    if place not in ("voc absent", "broken JSON", "not UTF-8"):
        return
    for name in OPEN:
        run = needed(name, known_run)
        refused(name, f"--dataset={spec}", *run, names=spec.partition(":")[2])


@pytest.mark.parametrize("name", OPEN)
def test_the_data_set_that_is_asked_for(refused, known_run, name):
    run = needed(name, known_run)
    refused(name, *run, "--dataset=kitti:x", names=["'kitti:x'", "voc:PATH"])
    refused(name, *run, "--dataset=shapes:size=3", names="size=3")
    if name not in OF_A_RUN:
        refused(name, *run, "--dataset=shapes:count=2", "--classes=cow", names="cow")


@pytest.mark.parametrize(
    ("name", "arguments", "names"),
    [
        ("train", ["--strategy=multi_worker"], "TF_CONFIG"),
        ("train", ["--batch_size=0"], "--batch_size"),
        ("train", ["--semantics=mine"], "mine"),
        ("train", ["--model=resnet"], "resnet"),
        ("train", ["--backbone={tmp}"], "{tmp} holds no run"),
        ("train", ["--resume", "--output_dir="], "--output_dir"),
        ("pretrain", [], "--dataset is missing"),
        ("pretrain", ["--dataset=shapes:count=2"], "boxes"),
        ("reproduce_keras_voc", [], "--root"),
        ("reproduce_tf2_person", ["--root=x", "--defects=none"], "'none'"),
        ("reproduce_keras_voc", ["--root={tmp}/x"], "{tmp}/x"),
        ("overfit_one_batch", ["--images=0"], "images"),
        ("inspect_dataset", ["--sides=7,x"], "7,x"),
        ("crop_objects", ["--margin=-1"], "margin"),
        ("detect", ["--checkpoint={run}", "--images={tmp}/none*"], "{tmp}/none*"),
        ("detect", ["--checkpoint={run}", "--images={tmp}", "--which=first"], "first"),
        ("evaluate", ["--checkpoint={run}", "--which=best"], "'best'"),
        ("export", ["--checkpoint={run}", "--which=best"], "'best'"),
        ("explain", ["--checkpoint={run}", "--image=a", "--which=best"], "'best'"),
        ("evaluate", ["--checkpoint={run}", "--eval_split=a", "--dataset=voc:{tmp}"], "{tmp}"),
        ("compare_losses", ["--losses=paper,mine"], "'mine'"),
        ("compare_losses", ["--losses=paper:ties=some"], "'some'"),
        ("compare_losses", ["--checkpoint={run}", "--seed=1"], "--seed"),
        ("compare_losses", ["--checkpoint={run}", "--which=best"], "'best'"),
        ("compare_losses", ["--images=3"], "--images"),
        ("review", [], "--checkpoint"),
        ("review", ["--checkpoint={run}", "--to=voc"], "--to"),
        ("review", ["--checkpoint={run}", "--suspicion=2"], "suspicion"),
        ("review", ["--checkpoint={run}", "--plant=0.1", "--plant_faults=bent"], "'bent'"),
        ("review", ["--checkpoint={run}", "--save=records"], "'records'"),
        ("review", ["--decisions=a.csv"], "--dataset=KIND:PATH"),
        ("review", ["--decisions=a.csv", "--dataset=shapes:count=2"], "--to"),
        ("review", ["--decisions=a.csv", "--dataset=voc:x", "--plant=0.1"], "--plant"),
        ("review", ["--decisions=a.csv,b.json", *OF_SHAPES], "several tables"),
        ("review", ["--decisions={tmp}/none.csv", *OF_SHAPES], "{tmp}/none.csv"),
        ("review", ["--decisions=coco:{tmp}", *OF_SHAPES], "{tmp}"),
        ("compare_runs", ["--runs={run}"], "no finished epoch"),
        ("compare_runs", ["--runs={run}", "--floors=x"], "'x'"),
        ("replay", ["--checkpoint={run}"], "--step"),
        ("replay", ["--file={tmp}/none.npz"], "{tmp}/none.npz"),
        ("bisect", ["{run}"], "Give two runs"),
        ("bisect", ["{run}", "{tmp}/none"], "{tmp}/none holds no run"),
        ("evaluate", INTO_A_RUN, "{run} holds a run"),
        ("export", INTO_A_RUN, "{run} holds a run"),
        ("explain", [*INTO_A_RUN, "--image=test-00003"], "{run} holds a run"),
        ("review", INTO_A_RUN, "{run} holds a run"),
        ("replay", [*INTO_A_RUN, "--step=1"], "{run} holds a run"),
        ("compare_losses", INTO_A_RUN, "{run} holds a run"),
        ("bisect", ["{run}", "{run}", "--output_dir={run}"], "{run} holds a run"),
        (
            "inspect_dataset",
            ["--dataset=shapes:count=2", "--output_dir={run}"],
            "{run} holds a run",
        ),
        ("train", ["--fork=x"], "RUN@STEP"),
        ("train", ["--digests=-1"], "--digests"),
        ("train", ["--keep_every=-1"], "--keep_every"),
        ("prepare_voc", ["--years=2010"], "2010"),
        ("prepare_voc", ["--tar_dir={tmp}/none"], "{tmp}/none"),
        ("prepare_open_images", ["--root="], "--root"),
        ("prepare_open_images", ["--from_export={tmp}/none"], "{tmp}/none"),
    ],
)
def test_what_an_experiment_needs(refused, known_run, tmp_path, name, arguments, names):
    words = {"tmp": tmp_path, "run": known_run}
    refused(name, *(a.format(**words) for a in arguments), names=names.format(**words))


@pytest.mark.parametrize("name", READ_RUNS)
@pytest.mark.parametrize(
    ("config", "names"),
    [
        (None, "holds no run"),
        ('{"config": {"data', "config.json cannot be used"),
        ("[]", "config.json cannot be used"),
        ('{"config": {}, "grid": {"S": 7}}', "'classes'"),
        ('{"config": {"S": "seven"}, "grid": {}, "classes": []}', "config.json"),
    ],
)
def test_a_run_that_is_none(refused, complete, tmp_path, name, config, names):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    (tmp_path / "a.jpg").touch()
    arguments = {
        "bisect": (tmp_path, tmp_path),
        "compare_runs": (f"--runs={tmp_path}",),
        "detect": (f"--checkpoint={tmp_path}", f"--images={tmp_path}/a.jpg"),
        "explain": (f"--checkpoint={tmp_path}", "--image=a"),
        "replay": (f"--checkpoint={tmp_path}", "--step=0"),
    }.get(name, (f"--checkpoint={tmp_path}",))
    refused(name, *arguments, names=[str(tmp_path), names])
    if config is not None and name == "detect":  # to go on with it is no better
        checkpoint = tmp_path / "checkpoints" / "last" / "checkpoint"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        refused("train", f"--output_dir={tmp_path}", "--resume", names=[str(tmp_path), names])


def test_figures_that_are_cut(refused, known_run, tmp_path):
    (tmp_path / "config.json").write_text((known_run / "config.json").read_text())
    (tmp_path / "metrics.csv").write_text("epoch,step,loss\n1,8,0.5\n2,1")
    refused("compare_runs", f"--runs={tmp_path}", names="metrics.csv is damaged")
    (tmp_path / "metrics.csv").write_text("epoch,step,loss\n1,8,0.5\n")
    refused("compare_runs", f"--runs={tmp_path}", "--measure=x", names="epoch, step, loss")
    (tmp_path / "summary.json").write_text("{")
    refused("compare_runs", f"--runs={tmp_path}", names="summary.json cannot be used")


def test_crops_replace_no_other_summary(refused, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"map_voc07": 0.5}))
    refused(
        *("crop_objects", "--debug", "--split=train", f"--output_dir={tmp_path}"),
        names=f"{tmp_path / 'summary.json'} is not of crops",
    )


def test_a_fault_of_our_own_shows_where(call_experiment, tmp_path, monkeypatch):
    from yolov1 import data

    def fault(*arguments, **options):
        raise ValueError("a fault")

    monkeypatch.setattr(data, "statistics", fault)
    done = call_experiment("inspect_dataset", "--debug", f"--output_dir={tmp_path}")
    assert done.returncode == 1 and "Traceback" in done.stderr and "a fault" in done.stderr
