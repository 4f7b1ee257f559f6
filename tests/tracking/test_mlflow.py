"""--track=mlflow:URI: what is refused, what is written, and a training that does not need it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.shared import ROOT
from tests.tracking.conftest import HAS_MLFLOW
from tests.training.small_runs import assert_same_bits, final_state, rows, run
from yolov1 import tracking
from yolov1.tracking import mlflow, tracker
from yolov1.training import RunDirectory, TrainConfig


@pytest.mark.parametrize(
    "track, says",
    [
        ("mlflow", "must be KIND:URI with one of the kinds mlflow"),
        ("wandb:x", "must be KIND:URI with one of the kinds mlflow"),
        ("mlflow:postgresql://host/db", "expected a folder, sqlite:///FILE, http://SERVER"),
        ("mlflow:databricks://me", "expected a folder"),
        ("mlflow:file:mlruns", "MLflow's old file:PATH"),
        ("mlflow:http://", "names no server"),
        ("mlflow:https://me:secret@host", "MLFLOW_TRACKING_PASSWORD"),
        ("mlflow:a?b", "cannot have a question mark"),
        (f"mlflow:sqlite:///{ROOT / 'README.md'}", "is no database of SQLite"),
        (f"mlflow:sqlite:///{ROOT}", "is no database of SQLite"),
    ],
)
def test_another_place_is_refused(track, says):
    with pytest.raises(ValueError, match="--track") as error:
        tracking.check(track)
    assert says in str(error.value)


def test_a_wrong_place_is_refused_before_anything_is_written(tmp_path):
    code, said = run(tmp_path / "run", track="mlfow:here")
    assert code != 0 and "Traceback" not in said
    assert "one of the kinds mlflow" in said and not (tmp_path / "run").exists()


def test_addresses_in_full(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for uri, expected in (
        ("", f"sqlite:///{tmp_path}/mlflow.db"),
        ("a [0] %20", f"sqlite:///{tmp_path}/a [0] %20/mlflow.db"),
        ("sqlite:///sub/my.db", f"sqlite:///{tmp_path}/sub/my.db"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("https://host/prefix", "https://host/prefix"),
    ):
        assert mlflow.address(uri) == expected


def test_a_missing_extra_is_named_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, said = run(tmp_path / "run", track=f"mlflow:{tmp_path / 'm'}")
    assert code != 0 and "Traceback" not in said
    assert "pip install 'yolov1[mlflow]'" in said
    assert not (tmp_path / "run" / "metrics.csv").exists()


# ------------------------------------------------------------------ what waits to be written


class Kind:
    """A tracker that keeps what it is given, and fails where it is told to."""

    place = address = "there"

    def __init__(self, fails=()):
        self.fails, self.written = list(fails), []

    def _write(self, *what):
        if self.fails and self.fails.pop(0):
            raise ConnectionError("nobody is there\nat all")
        self.written.append(what)

    def begin(self, previous, name, flags, tags):
        self._write("begin", previous)
        return "7"

    def metrics(self, values, step):
        self._write("metrics", values, step)

    def file(self, path, folder):
        self._write("file", path.name, folder)

    def end(self, status):
        self._write("end", status)


class Module:
    def __init__(self, store):
        self.Store = lambda address: store


def made(tmp_path, store, resumed=()):
    run_directory = RunDirectory(tmp_path)
    values = {"config": TrainConfig().to_dict(), "resumed": list(resumed),
              "environment": {"git_revision": "0123-dirty"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(values))
    return tracker.Tracker("kind:there", Module(store), "there", run_directory)


def settled(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_what_failed_is_written_later_and_in_order(tmp_path, capsys):
    store = Kind(fails=[True, True])
    one = made(tmp_path, store)
    assert settled(lambda: len(store.fails) == 1)
    one.on_epoch_end(0, {"step": 3, "loss": 2.0, "val_loss": float("nan")})
    assert settled(lambda: not store.fails)
    one.on_epoch_end(1, {"step": 6, "loss": 1.0})
    assert settled(lambda: len(store.written) == 3)
    one.close("failed")
    assert store.written == [
        ("begin", None),
        ("metrics", {"loss": 2.0}, 3),
        ("metrics", {"loss": 1.0}, 6),
        ("end", "failed"),
        ("file", "config.json", None),
    ]
    said = capsys.readouterr().out
    assert said.count("warning: --track=kind:there: the training goes on") == 1
    assert "tried again: ConnectionError: nobody is there" in said
    assert "at all" not in said and "tracked:  there" in said
    place = json.loads((tmp_path / "tracking.json").read_text())
    assert place == {"track": "kind:there", "address": "there", "id": "7"}


def test_a_tracker_that_hangs_is_not_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracker, "PATIENCE", 0.2)
    gate = threading.Event()
    store = Kind()
    store.metrics = lambda *what: gate.wait(30)
    one = made(tmp_path, store)
    started = time.monotonic()
    one.on_epoch_end(0, {"step": 3, "loss": 2.0})
    assert time.monotonic() - started < 0.1
    one.close("interrupted")
    assert time.monotonic() - started < 5
    said = capsys.readouterr().out
    assert f"3 of 4 entries were not written; everything is in {tmp_path}" in said
    gate.set()


@pytest.mark.parametrize(
    "error, status", [(None, "finished"), (KeyboardInterrupt, "interrupted"),
                      (SystemExit(130), "interrupted"), (FloatingPointError, "failed")]
)  # fmt: skip
def test_how_a_run_ends(tmp_path, error, status):
    store = Kind()
    expected = pytest.raises(BaseException) if error else contextlib.nullcontext()
    with expected, made(tmp_path, store):
        if error:
            raise error
    assert ("end", status) in store.written


def test_a_resumed_run_goes_on_in_its_own(tmp_path):
    made(tmp_path, Kind()).close("failed")
    store = Kind()
    made(tmp_path, store, resumed=[{}]).close("finished")
    assert store.written[0] == ("begin", "7")
    store = Kind()  # and another that starts in the same place does not
    made(tmp_path, store).close("finished")
    assert store.written[0] == ("begin", None)


# ------------------------------------------------------------------ MLflow itself


needs_mlflow = pytest.mark.skipif(not HAS_MLFLOW, reason="the extra yolov1[mlflow] is missing")


def client_of(folder):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def only_run(folder):
    client = client_of(folder)
    (experiment,) = [e for e in client.search_experiments() if e.name == mlflow.EXPERIMENT]
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


@needs_mlflow
def test_the_run_is_in_mlflow(tracked):
    folder, said = tracked
    client, found = only_run(folder)
    assert found.info.status == "FINISHED" and found.info.run_name == str(folder / "run [0]*")
    assert f"tracked:  run {found.info.run_id} in sqlite:///{folder}/mlflow.db" in said
    config = json.loads((folder / "run [0]*" / "config.json").read_text())
    flags = {name: str(value) for name, value in config["config"].items() if name != "resume"}
    assert found.data.params == flags
    revision = config["environment"]["git_revision"]
    assert found.data.tags["git_revision"] == revision.removesuffix("-dirty")
    assert found.data.tags["git_dirty"] == str("dirty" in revision).lower()
    for name in ("loss", "xy", "map_area", "learning_rate", "evaluation_seconds"):
        history = client.get_metric_history(found.info.run_id, name)
        expected = [(int(r["step"]), float(r[name])) for r in all_rows(folder / "run [0]*")]
        for metric, (step, value) in zip(history, expected, strict=True):
            assert metric.step == step and metric.value == pytest.approx(value, rel=1e-6), name
    summary = json.loads((folder / "run [0]*" / "summary.json").read_text())
    assert found.data.metrics["final/map_area"] == summary["map_area"]
    assert found.data.metrics["final/class/ring"] == summary["ap_per_class"]["ring"]
    top = {item.path for item in client.list_artifacts(found.info.run_id)}
    names = ("config.json", "dataset.json", "metrics.csv", "summary.json", "evaluation.json")
    assert top == {*names, "report.html", "pictures"}
    pictures = [item.path for item in client.list_artifacts(found.info.run_id, "pictures")]
    assert sorted(pictures) == sorted(f"pictures/{p.name}" for p in folder.glob("run */pictures/*"))


def all_rows(path):
    return RunDirectory(path).read_metrics()


@pytest.mark.slow
@needs_mlflow
def test_a_resumed_run_is_the_same_in_mlflow(tracked, values):
    """With more epochs, and moved; MLflow lets no parameter change."""
    folder, _ = tracked
    shutil.copytree(folder / "run [0]*", folder / "moved")
    changes = {"epochs": 3, "eval_every": 0}
    code, said = run(folder / "moved", resume=True, **values | changes)
    assert code == 0 and "warning" not in said, said
    client, found = only_run(folder)
    assert found.info.status == "FINISHED" and found.data.params["epochs"] == "2"
    assert found.data.tags["resumed.epochs"] == "3"
    changed = {tag for tag in found.data.tags if tag.startswith("resumed.")}
    assert changed == {"resumed.epochs", "resumed.eval_every", "resumed.output_dir"}
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [metric.step for metric in history] == [2, 5, 8]


@pytest.fixture
def address(tracked, monkeypatch):
    """Of the same database, in another experiment."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    return f"sqlite:///{tracked[0] / 'mlflow.db'}"


@needs_mlflow
def test_a_deleted_run_is_begun_anew(tracked, address):
    first = mlflow.Store(address).begin(None, "run", {"S": 7}, {})
    assert mlflow.Store(address).begin(first, "run", {"S": 7}, {}) == first
    client_of(tracked[0]).delete_run(first)
    assert mlflow.Store(address).begin(first, "run", {"S": 7}, {}) != first
    assert mlflow.Store(address).begin("0" * 32, "run", {"S": 7}, {}) not in ("0" * 32, first)


@needs_mlflow
def test_any_name_and_any_number_of_them(tracked, address):
    store = mlflow.Store(address)
    run_id = store.begin(None, "run", {f"flag{k}": k for k in range(120)}, {})
    store.metrics({"AP of \N{SNOWMAN}/ a|b": 0.5} | {f"class{k}": k for k in range(1100)}, 3)
    found = client_of(tracked[0]).get_run(run_id).data
    assert len(found.params) == 120 and len(found.metrics) == 1101
    assert found.metrics["AP of _/ a_b"] == 0.5


@needs_mlflow
def test_a_beginning_that_failed_goes_on_in_the_same_run(tracked, address, monkeypatch):
    store = mlflow.Store(address)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_log", lambda *what: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.begin(None, "twice", {"S": 7}, {})
    run_id = store.begin(None, "twice", {"S": 7}, {})
    client = client_of(tracked[0])
    found = client.get_run(run_id)
    names = [r.info.run_name for r in client.search_runs([found.info.experiment_id])]
    assert names.count("twice") == 1 and found.data.params == {"S": "7"}


@pytest.mark.slow
@needs_mlflow
def test_two_runs_that_make_the_database_at_once(tracked, tmp_path, monkeypatch):
    """Another puts its file there while ours is being made: both runs are in that one."""
    address, link = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}", os.link

    def be_late(new, path):
        monkeypatch.setattr(os, "link", link)
        runs.append(mlflow.Store(address).begin(None, "first", {"S": 7}, {}))
        link(new, path)

    monkeypatch.setattr(os, "link", be_late)
    runs = []
    runs.append(mlflow.Store(address).begin(None, "second", {"S": 7}, {}))
    names = [client_of(tmp_path / "new").get_run(run_id).info.run_name for run_id in runs]
    assert names == ["first", "second"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mlflow.db"]


@needs_mlflow
@pytest.mark.slow
def test_a_server_that_is_down_stops_nothing(tracked, plain, values, tmp_path, monkeypatch):
    """The training ends with the same bits, and says once that nobody listened."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port where nobody listens
        track = f"mlflow:http://127.0.0.1:{taken.getsockname()[1]}"
        code, said = run(tmp_path / "down", track=track, **values)
    assert code == 0 and "Traceback" not in said, said
    assert said.count(f"warning: --track={track}: the training goes on") == 1
    assert "entries were not written; everything is in" in said
    assert (tmp_path / "down" / "report.html").exists()
    assert not (tmp_path / "down" / "tracking.json").exists()
    assert_same_bits(final_state(tmp_path / "down"), final_state(plain))
    timed = ("images_per_second",)
    for one, other in zip(rows(tmp_path / "down"), rows(plain), strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }


@pytest.mark.slow
@needs_mlflow
def test_nothing_is_sent_but_to_the_server(tmp_path):
    """Telemetry off, also where the environment asks for it: in a process of its own, because
    MLflow sends none from under pytest."""
    code = f"""
import importlib.util, socket, sys
spec = importlib.util.spec_from_file_location("tracking", "yolov1/tracking/mlflow.py")
mlflow = importlib.util.module_from_spec(spec)  # without TensorFlow
spec.loader.exec_module(mlflow)
asked = []
def connect(self, address):
    asked.append(address)
    raise OSError("no network here")
socket.socket.connect = connect
socket.getaddrinfo = lambda *where, **more: asked.append(where) or []
store = mlflow.Store("sqlite:///{tmp_path}/mlflow.db")
store.begin(None, "run", {{"S": 7}}, {{}})
store.metrics({{"loss": 1.0}}, 1)
store.end("finished")
from mlflow.telemetry import get_telemetry_client
import time; time.sleep(0.5)
sys.exit(str(asked) if asked or get_telemetry_client() is not None else 0)
"""
    env = {k: v for k, v in os.environ.items() if k not in ("CI", "PYTEST_CURRENT_TEST")}
    env["MLFLOW_DISABLE_TELEMETRY"] = "false"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
