"""`YoloLoss`, `YoloTerms` and `ResponsibleBoxes` over two devices against one."""

import subprocess
import sys

import numpy as np
import pytest

from tests.losses.mirrored import run
from tests.shared import ROOT


@pytest.mark.slow
def test_two_devices_equal_one(tmp_path):
    output = tmp_path / "two.npz"
    command = [sys.executable, "-m", "tests.losses.mirrored", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = run(), np.load(output)
    assert set(one) == set(two)
    for name in set(one) - {"loss ops"}:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert set(one["loss ops"]) == {1}
    assert set(two["loss ops"]) == {1, 2}, "one for each replica; one while Keras builds the model"
