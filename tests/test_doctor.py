"""`python -m yolov1.doctor`."""

from tests import programs
from yolov1 import doctor


def test_a_working_installation_is_all_well():
    answer = programs.call("yolov1.doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    rows = dict(line.split(":  ", 1) for line in answer.stdout.splitlines() if ":  " in line)
    for name, value in {
        "tensorflow": "2.21",
        "built: compiler": "",
        "tensorflow ABI": "C++11 1",
        "oneDNN": "on",  # as tests/conftest.py asks for
        "op self-test": "passed",
        "verdict": "all well",
    }.items():
        assert rows[name].strip().startswith(value), answer.stdout


def test_a_library_for_another_tensorflow_is_a_problem(monkeypatch, capsys):
    from yolov1 import ops

    def refuse():
        raise ops.LibraryUnavailable("built for TensorFlow 1.0; rebuild it with: pip ...")

    monkeypatch.setattr(ops, "load", refuse)
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert "problems found" in printed and "* built for TensorFlow 1.0; rebuild" in printed


def test_a_wrong_kernel_is_a_problem(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "self_test", lambda: 0.25)
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert "FAILED on the CPU, deviation 2.5e-01" in printed and "Use impl='reference'" in printed


def test_a_kernel_that_gives_nan_is_a_problem(monkeypatch):
    from yolov1 import ops

    original = ops.pairwise_iou

    def broken(*args, impl, **options):
        found = original(*args, impl=impl, **options)
        return found * float("nan") if impl == "fused" else found

    monkeypatch.setattr(ops, "pairwise_iou", broken)
    assert not doctor.self_test() <= doctor.TOLERANCE


def test_self_test_compares_something():
    assert 0 < doctor.self_test() < doctor.TOLERANCE
