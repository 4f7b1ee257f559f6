"""``--track=mlflow:URI``: a run as a run of MLflow, in local files or on a server."""

import contextlib
import importlib
import logging
import os
import re
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from yolov1 import extras
from yolov1.files import make_folder, user_path

EXPERIMENT = "yolov1"  # unless MLFLOW_EXPERIMENT_NAME says otherwise
_SQLITE = "sqlite:///"
_MOST = 100  # parameters that MLflow takes at once (of numbers it would take ten times as many)
_LONGEST = 6000  # characters of one
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def address(uri: str) -> str:
    """A tracking URI of MLflow's in full.

    Args:
        uri: a folder (empty: the current one), in which ``mlflow.db`` and ``mlruns/`` are or will
            be, as MLflow itself has them by default; ``sqlite:///FILE``; or ``http(s)://SERVER``.

    Raises:
        ValueError: another scheme, a server with a password in its address, a file that is no
            database.
    """
    if re.match(r"https?://", uri):
        parts = urlsplit(uri)
        if not parts.hostname:
            raise ValueError("the address names no server.")
        if parts.password or parts.username:
            raise ValueError(
                "an address with a password would be kept in the run's config.json. Set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN)."
            )
        return uri
    if re.match(r"\w[\w+.-]+:", uri) and not uri.startswith(_SQLITE):
        raise ValueError(
            f"expected a folder, {_SQLITE}FILE, http://SERVER or https://SERVER. (MLflow's old "
            "file:PATH is a store that it does not write any more.)"
        )
    if uri.startswith(_SQLITE):
        path = user_path(uri.removeprefix(_SQLITE)).absolute()
    else:
        path = user_path(uri).absolute() / "mlflow.db"
    if "?" in str(path):
        raise ValueError(f"the address of a database cannot have a question mark, got {path}.")
    if path.is_dir() or (path.exists() and not _is_database(path)):
        raise ValueError(f"{path} is no database of SQLite.")
    return f"{_SQLITE}{path}"


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\0")


class Store:
    """MLflow at an address. Nothing is asked of it before `begin`, and never for a login; what it
    sends home of its own is switched off.

    Raises:
        MissingExtra: MLflow, or what it needs for local files, is not installed.
    """

    def __init__(self, address: str):
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # `place` says it
        # By default a server that does not answer is waited for for a quarter of an hour.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        names = ("mlflow.tracking", "mlflow.entities", "mlflow.exceptions")
        local = ("sqlalchemy", "alembic") if address.startswith(_SQLITE) else ()
        needed = extras.needed("mlflow", *names, *local, what="--track=mlflow:")
        self._tracking, self._entities, self._exceptions = needed[:3]
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)  # the warning is the tracker's
        self.address, self._client, self._run = address, None, None

    def begin(self, previous, name: str, flags: dict, tags: dict) -> str:
        """Begins a run, or goes on with the previous one where it is still there; called again
        where it failed, it goes on with what it had begun.

        Args:
            previous: its id, or None.
            name: of the run.
            flags: name -> value; of a run that goes on, those that changed become tags, as MLflow
                lets no parameter change.
            tags: name -> text.

        Returns:
            The run's id.
        """
        if self._client is None:
            if self.address.startswith(_SQLITE):
                self._make_database()
            # The registry is not used, but it must not be another one than this.
            self._client = self._tracking.MlflowClient(self.address, registry_uri=self.address)
        run = self._previous(self._run.run_id if self._run else previous)
        if run is None:
            run = self._client.create_run(self._experiment(), run_name=name)
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
        self._run = run.info
        texts = {k: str(v)[:_LONGEST] for k, v in flags.items() if k != "resume"}
        before = run.data.params
        new = [self._entities.Param(k, v) for k, v in texts.items() if k not in before]
        self._log("params", new)
        changed = {f"resumed.{k}": v for k, v in texts.items() if before.get(k, v) != v}
        for k, v in (tags | changed).items():
            self._client.set_tag(run.info.run_id, k, v)
        return run.info.run_id

    def metrics(self, values: dict, step: int):
        """Numbers of a step; a name that MLflow would refuse is changed to one that it takes."""
        now = int(time.time() * 1000)
        metric = self._entities.Metric
        self._log("metrics", [metric(_name(k), v, now, step) for k, v in values.items()])

    def _log(self, what: str, values: list):
        for k in range(0, len(values), _MOST):
            self._client.log_batch(self._run.run_id, **{what: values[k : k + _MOST]})

    def file(self, path, folder):
        """A file, into a folder of the run's artifacts (None: the top)."""
        self._client.log_artifact(self._run.run_id, str(path), folder)

    def end(self, status: str):
        self._client.set_terminated(self._run.run_id, _STATUS[status])

    @property
    def place(self) -> str:
        """Where the run is to be seen."""
        if self.address.startswith(_SQLITE):
            return f"run {self._run.run_id} in {self.address}"
        number, run = self._run.experiment_id, self._run.run_id
        return f"{self.address.rstrip('/')}/#/experiments/{number}/runs/{run}"

    @property
    def _database(self) -> Path:
        return Path(self.address.removeprefix(_SQLITE))

    @property
    def _artifacts(self) -> str:
        return (self._database.parent / "mlruns").as_uri()

    def _make_database(self):
        """Makes the file where there is none. It takes its place once whole: MLflow makes its
        tables in many steps, and a file of two that did so at once, or of one that was killed, is
        of no use any more."""
        if self._database.exists():
            return
        make_folder(self._database.parent)
        with tempfile.TemporaryDirectory(dir=self._database.parent) as folder:
            new = Path(folder) / "mlflow.db"
            module = importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
            module.SqlAlchemyStore(f"{_SQLITE}{new}", self._artifacts).engine.dispose()
            with contextlib.suppress(FileExistsError):  # another run was faster: then it is that
                os.link(new, self._database)

    def _previous(self, run_id):
        """The run of this id; None where it was deleted."""
        if run_id is None:
            return None
        try:
            run = self._client.get_run(run_id)
        except self._exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _experiment(self) -> str:
        """The id of the experiment, which is made where there is none."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        files = None  # a server knows where
        if self.address.startswith(_SQLITE):
            files = self._artifacts
        return self._client.create_experiment(name, artifact_location=files)


def _name(text: str) -> str:
    return re.sub(r"[^\w./ :-]", "_", text)[:250]
