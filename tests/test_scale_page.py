"""docs/scale.md: its recipes for schedulers are commands of ours, its faults have their tests."""

import re
import shlex

import pytest
import yaml

from experiments.lib import trials
from tests import programs
from tests.shared import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def is_ours(words):
    """Whether a module's flags, with their values, are such as it takes."""
    module, *words = words[words.index("-m") + 1 :]
    rest = words
    if module == "experiments.launch":
        rest = words[words.index("--") + 1 :]
    else:
        assert module == "experiments.train"
    done = programs.parse(module, *words)
    assert done.returncode == 0, done.stderr
    trials.config_of(rest)  # raises where training would refuse them


@pytest.mark.parametrize("kind", ["RayJob", "TFJob"])
def test_recipes_for_kubernetes(kind):
    (job,) = [found for found in map(yaml.safe_load, blocks("yaml")) if found["kind"] == kind]
    spec = job["spec"]
    if kind == "RayJob":
        is_ours(shlex.split(spec["entrypoint"]))
        groups = [spec["rayClusterSpec"]["headGroupSpec"]]
        groups += spec["rayClusterSpec"]["workerGroupSpecs"]
        (workers,) = groups[1:]
        assert f"--workers={workers['replicas']}" in spec["entrypoint"]
        assert f"--min_workers={workers['minReplicas']}" in spec["entrypoint"]
        pods = [group["template"]["spec"] for group in groups]
    else:
        (worker,) = spec["tfReplicaSpecs"].values()  # workers only: see `cluster_task`
        pods = [worker["template"]["spec"]]
        (container,) = pods[0]["containers"]
        assert container["name"] == "tensorflow"  # the operator looks for it by this name
        is_ours([*container["command"], *container["args"]])
    for pod in pods:
        assert pod["terminationGracePeriodSeconds"] >= 60  # to save in
        (container,) = pod["containers"]
        names = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == names


def test_recipe_for_slurm():
    (script,) = [block for block in blocks("sh") if "#SBATCH" in block]
    (command,) = re.findall(r"^srun .*?[^\\]$", script, re.M | re.S)
    is_ours(shlex.split(command.replace("\\\n", " ")))
    assert "--signal=TERM@" in script and "$? = 143" in script


def test_every_fault_has_its_test():
    rows = re.findall(r"^\|.*\|.*\|(.*)\|$", PAGE[PAGE.index("## Faults") :], re.M)
    tests = [name for row in rows for name in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", row)]
    assert len(tests) >= 15
    for file, name in tests:
        (path,) = (ROOT / "tests").rglob(file)
        assert not name or f"def {name}(" in path.read_text(encoding="utf-8"), name
