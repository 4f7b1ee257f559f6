"""What a study does with its trials; those of a test take a tenth of a second: `fake_train`."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.lib import children
from tests import programs
from tests.experiments.fake_train import STUDY
from tests.shared import ROOT
from tests.small_cfg import FEW_LAYERS

pytest.importorskip("scipy", reason="the extra study is not installed")

SMALL = ("--dataset=shapes:count=4", "--image_size=32", "--S=3", "--epochs=2")
RATES = "--vary=learning_rate=1e-3,1e-2"


@pytest.fixture
def study(call_experiment, monkeypatch, tmp_path):
    """Runs a study of fakes in a folder of the test."""
    monkeypatch.setattr("experiments.lib.trials.TRAIN", "tests.experiments.fake_train")
    monkeypatch.setattr("experiments.lib.children.POLL", 0.02)

    def run(*arguments, flags=SMALL, folder="study"):
        output = tmp_path / folder
        return call_experiment("study", *arguments, f"--output_dir={output}", "--", *flags)

    return run


def summary(tmp_path, folder="study"):
    return json.loads((tmp_path / folder / "summary.json").read_text())


def begun(log):
    return [line for line in Path(log).read_text().splitlines() if line.startswith("begins")]


def test_every_variant_with_every_seed(study, tmp_path):
    done = study(RATES, "--seeds=0,2", "--parallel=2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = summary(tmp_path)
    assert (found["measure"], found["baseline"]) == ("map_area", "learning_rate=1e-3")
    assert [(t["variant"], t["seed"], t["state"]) for t in found["trials"]] == [
        (f"learning_rate={rate}", seed, "finished") for rate in ("1e-3", "1e-2") for seed in (0, 2)
    ]
    for trial in found["trials"]:
        run = tmp_path / "study" / trial["path"]
        assert run == tmp_path / "study" / trial["variant"] / f"seed-{trial['seed']}"
        config = json.loads((run / "config.json").read_text())["config"]
        assert config["seed"] == trial["seed"] and config["epochs"] == 2
        assert f"learning_rate={trial['flags']['learning_rate']}" == trial["variant"]
    # 1e-2 has a tenth less with either seed.
    other = found["variants"]["learning_rate=1e-2"]
    assert other["comparison"]["mean"] == pytest.approx(-0.1) and other["comparison"]["sd"] == 0
    assert "the same difference in every one of 2 seeds" in done.stdout
    with (tmp_path / "study" / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["learning_rate"] for row in rows] == ["1e-3", "1e-3", "1e-2", "1e-2"]
    assert float(rows[1]["map_area"]) == pytest.approx(1.002)
    assert (tmp_path / "study" / "study.html").exists()
    assert len(list((tmp_path / "study").rglob("events*"))) == 1 + 4  # for TensorBoard's HPARAMS


def test_what_is_there_is_kept_and_another_configuration_refused(study, tmp_path, monkeypatch):
    assert study(RATES, "--seeds=0").returncode == 0
    logs = [tmp_path / "study" / f"learning_rate={r}" / "seed-0.log" for r in ("1e-3", "1e-2")]
    done = study(RATES, "--seeds=0-1")
    assert "4 trials, 2 of them done" in done.stdout
    assert [len(begun(log)) for log in logs] == [1, 1]
    config = tmp_path / "study" / "learning_rate=1e-2" / "seed-0" / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"epochs": 2', '"epochs": 3'))
    done = study(RATES, "--seeds=0-2")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{config.parent} holds a run of another configuration: --epochs is 3" in done.stderr
    assert not (tmp_path / "study" / "learning_rate=1e-3" / "seed-2").exists()  # nothing began
    # Of finished ones nobody asks for the data.
    config.write_text(text)
    monkeypatch.setattr("experiments.lib.common.open_split", None)
    assert study(RATES, "--seeds=0-1").returncode == 0
    monkeypatch.undo()
    monkeypatch.setattr("experiments.lib.trials.TRAIN", "tests.experiments.fake_train")
    # What no number depends on may be another, unless it is what is varied.
    config.write_text(text.replace('"epochs": 2', '"epochs": 2, "cache": "off"'))
    assert study(RATES, "--seeds=0-1").returncode == 0
    done = study("--vary=cache=auto,off;learning_rate=1e-2", "--seeds=0", folder="caches")
    assert done.returncode == 0, done.stderr


def test_those_that_fail_are_listed_and_tried_again(study, tmp_path):
    vary = "--vary=clip_norm=20,7", "--seeds=0-1"
    done = study(*vary)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "2 of 4 trials failed; the same command tries them again" in done.stdout
    assert "error: the disk is full." in done.stdout
    found = summary(tmp_path)
    assert [t["state"] for t in found["trials"]] == ["finished"] * 2 + ["failed"] * 2
    assert found["variants"]["clip_norm=7"]["failed"] == [0, 1]
    assert "nothing can be said" in found["variants"]["clip_norm=7"]["sentence"]
    assert "error: the disk is full." in (tmp_path / "study" / "study.html").read_text()
    (tmp_path / "study" / "mended").touch()
    done = study(*vary)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [t["state"] for t in summary(tmp_path)["trials"]] == ["finished"] * 4
    assert len(begun(tmp_path / "study" / "clip_norm=20" / "seed-0.log")) == 1


def test_the_last_lines_are_those_of_the_last_try(tmp_path):
    log = tmp_path / "seed-0.log"
    log.write_text("$ train\na\nb\n\nc\n")
    assert children.last_lines(log, 2) == ["b", "c"]
    log.write_text(log.read_text() + "$ train --resume\n")
    assert children.last_lines(log, 2) == []  # killed before it said anything


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are Linux's")
def test_each_has_its_share_of_the_cores(study, tmp_path):
    all_cores = sorted(os.sched_getaffinity(0))
    if len(all_cores) < 2:
        pytest.skip("one core cannot be shared")
    assert study(RATES, "--seeds=0", "--parallel=2", "--cores=1").returncode == 0
    runs = [tmp_path / "study" / f"learning_rate={rate}" / "seed-0" for rate in ("1e-3", "1e-2")]
    cores = [json.loads((run / "config.json").read_text())["environment"]["cores"] for run in runs]
    one, other = map(set, cores)
    assert len(one) == len(other) == 1 and one != other
    assert sorted(os.sched_getaffinity(0)) == all_cores
    # By default each has all: its bits are those of a training by itself.
    assert study(RATES, "--seeds=1", "--parallel=2").returncode == 0
    for run in runs:
        text = (run.with_name("seed-1") / "config.json").read_text()
        assert json.loads(text)["environment"]["cores"] == all_cores


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_lets_the_trials_save(study, tmp_path, number, status):
    log = tmp_path / "study" / "learning_rate=1e-3" / "seed-0.log"
    metrics = log.with_suffix("") / "metrics.csv"

    def interrupt():
        while not metrics.exists():
            time.sleep(0.02)
        programs.interrupt(number)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    done = study(RATES, "--seeds=0", flags=(*SMALL, "--warmup_epochs=0.6"))
    thread.join()
    assert done.returncode == status, done.stdout + done.stderr
    assert "The same command goes on with it" in done.stdout
    assert [t["state"] for t in summary(tmp_path)["trials"]] == ["begun", "begun"]
    done = study(RATES, "--seeds=0", flags=(*SMALL, "--warmup_epochs=0.6"))
    assert done.returncode == 0
    assert begun(log) == ["begins after 0 epochs", "begins after 1 epochs"]


def test_a_run_that_somebody_else_trains_is_waited_for(study, tmp_path):
    from experiments.lib import children

    log = tmp_path / "study" / "learning_rate=1e-2" / "seed-0.log"
    log.parent.mkdir(parents=True)
    other = log.open("a")
    children.lock(other)
    threading.Timer(1.5, other.close).start()
    done = study(RATES, "--seeds=0")
    assert done.returncode == 0
    assert "another program is at it" in done.stdout and len(begun(log)) == 1


@pytest.mark.parametrize(
    ("arguments", "flags", "message"),
    [
        ((), (), "--vary or --variant is missing"),
        (("--vary=epochs",), (), "--vary must be NAME=..."),
        (("--vary=epochs=1,1",), (), "epochs has a value twice"),
        (("--vary=epoch=1,2",), (), "Did you mean epochs?"),
        (("--vary=epochs=1,2",), ("--epochs=3",), "--epochs is varied, and given after the --"),
        (("--vary=epochs=1,2",), ("--nosuch=3",), "nosuch"),
        (("--vary=epochs=1,2",), ("word",), "unknown argument 'word'"),
        (("--vary=epochs=1,2",), ("--seed=3",), "--seed is the study's to give"),
        (("--vary=epochs=1,2",), ("--resume",), "--resume is the study's to give"),
        (("--vary=epochs=1,2",), ("--output_dir=x",), "--output_dir is the study's to give"),
        (("--vary=seed=1,2",), (), "Give --seeds before the --"),
        (("--vary=output_dir=a",), (), "Give the study's --output_dir before the --"),
        (("--vary=epochs=1,x",), (), "epochs"),
        (("--vary=epochs=1,0",), (), "--epochs must be at least 1, got 0"),
        (("--vary=learning_rate=1e-3,0.001",), (), "are the same configuration"),
        (("--vary=semantics_options=|box=squared",), (), "are the same configuration"),
        (("--vary=model=laptop,resnet",), (), "resnet"),
        (("--vary=model_options=|widht=2",), (), "widht"),
        (("--vary=epochs=1,2", "--seeds=2-1"), (), "--seeds must be different whole numbers"),
        (("--vary=epochs=1,2", "--baseline=epochs=3"), (), "--baseline must be one of"),
        (("--vary=epochs=1,2", "--measure=map"), (), "--measure must be a figure"),
        (("--vary=epochs=1,2",), ("--dataset=voc:/none",), "/none"),
        (("--vary=epochs=1..2",), (), "epochs"),
        (("--vary=epochs=1..2", "--search=optuna", "--variant="), (), "--search looks for"),
        (("--search=optuna",), (), "got no --vary"),
        (("--vary=epochs=1..2", "--search=optuna", "--baseline=x"), (), "got --baseline"),
        (("--vary=semantics=a..b", "--search=optuna"), (), "a range LOW..HIGH"),
        (("--vary=dataset=shapes,voc:/none", "--search=optuna"), (), "/none"),
        (("--vary=epochs=0..2", "--search=optuna"), (), "--epochs must be at least 1, got 0"),
    ],
)
def test_refused_before_anything_starts(study, tmp_path, arguments, flags, message):
    own = SMALL[1:3] if "dataset" in "".join(arguments) else SMALL[:3]
    done = study(*arguments, flags=(*own, *flags))
    assert done.returncode == 1, done.stdout
    assert message in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("**/*.log"))


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [("scipy.stats", (RATES,), "study"), ("optuna", (RATES, "--search=optuna"), "search")],
)
def test_a_missing_extra_is_named_before_anything_starts(
    study, tmp_path, monkeypatch, module, arguments, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    done = study(*arguments)
    assert done.returncode == 1 and f"pip install 'yolov1[{extra}]'" in done.stderr
    assert not list(tmp_path.glob("**/*.log"))


def test_the_seed_in_a_flag(study, tmp_path):
    done = study(RATES, "--seeds=3", flags=(*SMALL, "--capture=caught-{seed}"))
    assert done.returncode == 0, done.stderr
    run = tmp_path / "study" / "learning_rate=1e-2" / "seed-3"
    assert json.loads((run / "config.json").read_text())["config"]["capture"] == "caught-3"


# ------------------------------------------------------------------ with real trainings

REAL = (
    *("--dataset=shapes:count=8", "--image_size=32", "--S=3", "--batch_size=4", "--epochs=2"),
    FEW_LAYERS,
)


@pytest.fixture(scope="module")
def trained(call_experiment, tmp_path_factory):
    """(variant, seed) -> the run that a study's own words give, trained in this process."""
    from experiments.lib import trials
    from yolov1.studies import plan

    output = tmp_path_factory.mktemp("trained")
    vary = {"semantics": ["paper", "darknet"], "ema": ["0.9"], "keep_every": ["2"]}
    variants = plan.with_folders(plan.grid(vary))
    jobs = {
        (variant.flags[0][1], seed): trials.make_job(output, variant, seed, REAL)
        for variant, seed in ((variants[0], 0), (variants[0], 1), (variants[1], 0))
    }
    for job in jobs.values():
        done = call_experiment("train", *job.words)
        assert done.returncode == 0, done.stderr
        assert trials.look(job) == "finished"
    return {key: job.run for key, job in jobs.items()}


def config_of(run):
    return json.loads((run / "config.json").read_text())["config"]


def differing(one, other):
    return {name for name in one if one[name] != other[name]}


@pytest.mark.slow
def test_configurations_differ_where_they_were_told_to(trained):
    paper, darknet, other_seed = (
        config_of(trained[key]) for key in (("paper", 0), ("darknet", 0), ("paper", 1))
    )
    assert differing(paper, darknet) == {"semantics", "output_dir"}
    assert (paper["semantics"], darknet["semantics"]) == ("paper", "darknet")
    assert differing(paper, other_seed) == {"seed", "output_dir"}
    assert paper["ema"] == 0.9  # of all


def start_of(run):
    """The weights with which a run's configuration starts, as `training.train` makes them."""
    import keras

    from yolov1.training.checkpoints import build_model

    config, grid, _ = run.read_config()
    keras.utils.set_random_seed(config.seed)
    return build_model(config, grid).get_weights()


def end_of(run):
    import keras

    import yolov1.models  # noqa: F401 (its layers)

    return keras.models.load_model(run / "model.keras", compile=False).get_weights()


def same(one, other):
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


@pytest.mark.slow
def test_weights_differ_where_they_were_told_to(trained):
    paper, darknet, other_seed = (trained[k] for k in (("paper", 0), ("darknet", 0), ("paper", 1)))
    start = start_of(paper)
    assert all(same(start, start_of(darknet)))
    random = [k for k, weights in enumerate(start) if weights.ndim > 1]  # kernels
    of_other_seed = same(start, start_of(other_seed))
    assert random and not any(of_other_seed[k] for k in random)
    end = end_of(paper)
    assert not all(same(end, end_of(darknet))) and not all(same(end, end_of(other_seed)))


@pytest.mark.slow
def test_forks_of_a_study(trained, call_experiment, tmp_path):
    """A trial goes on from its seed's run; what changes nothing becomes it, to the bit."""
    from experiments.lib import trials
    from yolov1.studies import plan

    origin = trained[("paper", 0)]
    words = [f"--fork={origin.path.parent}/seed-{{seed}}@2"]
    variants = plan.with_folders(plan.grid({"semantics": ["paper", "darknet"]}))
    job, other = (trials.make_job(tmp_path, variant, 0, words) for variant in variants)
    # What they are trained with is the origin's but for what varies.
    changed = differing(config_of(origin), other.config.to_dict())
    assert changed == {"semantics", "output_dir", "fork"}
    done = call_experiment("train", *job.words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trials.look(job) == "finished"
    assert all(same(end_of(origin), end_of(job.run)))
    # Of other seeds there need be no run.
    shutil.copytree(trained[("paper", 1)].path, tmp_path / "start-1")
    words = [f"--fork={tmp_path}/start-{{seed}}@2"]
    assert trials.default_measure(words, 1) == "map_area"


@pytest.mark.slow
def test_a_killed_study_ends_with_the_bits_of_one_that_was_not(tmp_path):
    """SIGKILL leaves it no time for anything: its trial stops itself, and is gone on with."""
    words = [
        *(sys.executable, "-m", "experiments.study", "--vary=semantics=paper,darknet"),
        "--seeds=4",
    ]
    flags = ("--", *REAL[:-1], "--epochs=40", "--eval_every=0", "--checkpoint_minutes=0")
    options = {"cwd": ROOT, "env": os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}}
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    undisturbed = subprocess.run([*words, f"--output_dir={straight}", *flags], **options)
    assert undisturbed.returncode == 0
    words.append("--parallel=2")  # which changes no bit either
    process = subprocess.Popen([*words, f"--output_dir={killed}", *flags], **options)
    first = killed / "semantics=paper" / "seed-4" / "metrics.csv"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run(
        [*words, f"--output_dir={killed}", *flags], **options, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout + again.stderr
    resumed = [log for log in killed.glob("*/*.log") if log.read_text().count("$ ") > 1]
    assert resumed  # it was not too late
    for variant in ("semantics=paper", "semantics=darknet"):
        one, other = (end_of(folder / variant / "seed-4") for folder in (straight, killed))
        assert all(same(one, other)), variant
    figures = [
        [trial["figures"]["map_area"] for trial in summary(tmp_path, folder)["trials"]]
        for folder in ("straight", "killed")
    ]
    assert figures[0] == figures[1]


@pytest.mark.slow
def test_on_a_cluster(tmp_path):
    """Trials are tasks of Ray; a study that is stopped goes on, there or here."""
    pytest.importorskip("ray", reason="of the extra ray")
    flags = (*SMALL, "--warmup_epochs=1.5")
    words = [RATES, "--seeds=0-1", "--parallel=2", f"--output_dir={tmp_path / 'study'}"]
    command = [sys.executable, "-c", STUDY, *words]
    process = subprocess.Popen([*command, "--on=ray", "--", *flags], cwd=ROOT)
    first = tmp_path / "study" / "learning_rate=1e-3" / "seed-0"
    while not (first / "metrics.csv").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    states = [trial["state"] for trial in summary(tmp_path)["trials"]]
    assert "finished" not in states and len(states) == 4
    done = subprocess.run(
        [*command, "--on=ray", "--", *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [trial["state"] for trial in summary(tmp_path)["trials"]] == ["finished"] * 4

    assert begun(first.with_suffix(".log"))[-1] == "begins after 1 epochs"


@pytest.mark.parametrize("search", [(), ("--search=optuna", "--trials_count=1")])
def test_a_runs_own_folder_is_refused(call_experiment, known_run, search):
    if search:
        pytest.importorskip("optuna", reason="the extra search is not installed")
    before = sorted(known_run.iterdir())
    vary = "--vary=epochs=1..2" if search else "--vary=epochs=1,2"
    done = call_experiment("study", vary, "--seeds=0", *search, f"--output_dir={known_run}")
    assert done.returncode == 1 and f"{known_run} holds a run, whose results" in done.stderr
    assert sorted(known_run.iterdir()) == before
