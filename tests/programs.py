"""Experiments and benchmarks run as programs, without a process for each."""

import _thread
import contextlib
import io
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from unittest import mock

from absl import app, flags, logging
from absl.testing import flagsaver

from tests.shared import ROOT


def call(module, *arguments) -> subprocess.CompletedProcess:
    """``python -m MODULE ARGUMENTS`` in this process, which has paid for imports and devices.

    Returns what `subprocess.run` would: returncode, stdout and stderr (those of Python; what
    TensorFlow writes itself stays with pytest).
    """
    command = [module, *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(ROOT))
        stack.enter_context(mock.patch.object(sys, "argv", command))
        stack.enter_context(_flags_of_no_program())
        stack.enter_context(_keras_as_new())
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning, "runpy")
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        handler = logging.get_absl_handler().python_handler
        stack.enter_context(mock.patch.object(handler, "stream", err))
        code = _exit_code(module)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def parse(module, *arguments) -> subprocess.CompletedProcess:
    """As `call`, but that the program only takes its flags, with their values."""

    def only_parses(main, argv=None, **_):
        flags.FLAGS(argv or sys.argv)

    with mock.patch.object(app, "run", only_parses):
        return call(module, *arguments)


def interrupt(number=signal.SIGINT):
    """A signal, as Python's handler of it sees one in the main thread; without a handler, nothing.

    (A real one that came too late would end the process in which all tests run.)
    """
    _thread.interrupt_main(number)


def _exit_code(module) -> int:
    """Runs a module as a program, and ends as the interpreter would."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def _flags_of_no_program():
    """Inside, absl knows the flags that packages define; afterwards all that it knew before."""
    app.define_help_flags()  # which `app.run` does once in a process
    registry = flags.FLAGS.__dict__
    saved = {
        key: {name: list(v) if isinstance(v, list) else v for name, v in value.items()}
        for key, value in registry.items()
        if isinstance(value, dict)
    }
    ours = [
        flag.name
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        if module.split(".")[0] in ("experiments", "benchmarks", "__main__")
        for flag in defined
    ]
    for name in ours:
        delattr(flags.FLAGS, name)
    try:
        with flagsaver.flagsaver():
            yield
    finally:
        for key, value in saved.items():
            registry[key].clear()
            registry[key].update(value)


@contextlib.contextmanager
def _keras_as_new():
    """Inside, Keras counts its layers from one; afterwards its precision is what it was."""
    if "keras" not in sys.modules:
        yield
        return
    import keras

    policy = keras.config.dtype_policy()
    keras.backend.clear_session(free_memory=False)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
