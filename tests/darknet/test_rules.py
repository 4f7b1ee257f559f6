"""Learning rates and the update of Darknet."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.shared import shared
from yolov1.darknet import DarknetError, parse_cfg, rules
from yolov1.darknet.cfg import Section
from yolov1.darknet.sgd import DarknetSchedule, DarknetSGD

NET = "[net]\nbatch=8\nsubdivisions=2\nheight=14\nwidth=14\nchannels=3\n"


def test_every_policy_has_darknets_rates_to_the_bit():
    cases = json.loads(shared("golden", "darknet_full", "train", "rates.json").read_text())
    seen = {case["net"].get("policy", "constant") for case in cases}
    assert seen == {"constant", "steps", "step", "exp", "poly", "sigmoid"}
    for case in cases:
        net = Section("net", tuple((key, str(value)) for key, value in case["net"].items()))
        rows = np.array(case["rows"])
        np.testing.assert_array_equal(
            rules.rate(net, rows[:, 1]), np.float32(rows[:, 2]), case["name"]
        )
        assert rules.rate(net, int(rows[-1, 1])) == np.float32(rows[-1, 2])


def test_a_step_that_is_not_reached_hides_those_behind_it():
    net = Section("net", (("policy", "steps"), ("steps", "5,2"), ("scales", "10,3")))
    first, tenth = np.float32(0.001), np.float32(0.001) * np.float32(10)
    assert rules.rate(net, 4) == first  # 2 is passed, but 5 is not
    assert rules.rate(net, 5) == tenth * np.float32(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policy=random\n", "line 7: .net. policy=random: a rate that is drawn .*expected one of"),
        ("policy=steps\nsteps=1,2\nscales=.1\n", "has 1 values for 2 steps"),
        ("policy=step\nstep=0\n", "line 8: .net. step=0: must be at least 1"),
        ("policy=poly\nmax_batches=9\n", "ends at batch 9, and the training would end at 10"),
        ("policy=exp\ngamma=1e30\n", "the rate of batch 2 is inf"),
    ],
)
def test_policies_that_are_refused(text, message):
    with pytest.raises(DarknetError, match=message):
        rules.rates(parse_cfg(NET + text), 10)


def test_the_schedule_counts_batches_from_one_and_goes_on_where_they_stood():
    text = f"{NET}learning_rate=0.01\npolicy=steps\nsteps=3,5\nscales=2.5,.1\n"
    net = parse_cfg(text).net
    for start in (0, 2):
        schedule = DarknetSchedule(text, steps=6, start=start)
        schedule = DarknetSchedule.from_config(schedule.get_config())
        got = tf.function(schedule)(tf.range(6, dtype=tf.int64)).numpy()
        np.testing.assert_array_equal(got, rules.rate(net, np.arange(1, 7) + start))
        assert schedule(6) == got[-1]
    assert rules.rate(net, 3) == np.float32(0.01) * np.float32(2.5)


def quadratic(optimizer, steps=8):
    """Kernel and bias of one layer after steps with the gradient of a fixed loss."""
    layer = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")
    layer.build((None, 3))
    optimizer.build(layer.trainable_variables)
    for k in range(steps):
        gradients = [tf.cast(v.value, tf.float32) * (k + 1) - 0.5 for v in layer.weights]
        optimizer.apply(gradients, layer.trainable_variables)
    return layer.get_weights()


def test_sgd_is_darknets_update():
    """Darknet: buffer += g - decay * B * w; w += lr / B * buffer; buffer *= momentum; with g the
    sum of negative gradients over the B images. The rate changes on the way."""
    text = f"{NET}learning_rate=0.1\npolicy=steps\nsteps=3,5\nscales=2.5,.1\n"
    kernel, bias = quadratic(DarknetSGD(DarknetSchedule(text, 8), momentum=0.9, decay=0.05))
    batch, net = 8, parse_cfg(text).net
    for got, decay in ((kernel, 0.05), (bias, 0.0)):
        w, buffer = 1.0, 0.0
        for k in range(8):
            buffer += -batch * (w * (k + 1) - 0.5) - decay * batch * w
            w += float(rules.rate(net, k + 1)) / batch * buffer
            buffer *= 0.9
        np.testing.assert_allclose(got, np.full(got.shape, w), rtol=2e-6)
    # A momentum that holds the rate is another: the step of the rate parts them.
    other = quadratic(keras.optimizers.SGD(DarknetSchedule(text, 8), momentum=0.9))
    same = quadratic(DarknetSGD(DarknetSchedule(text, 8), decay=0))
    assert np.abs(other[0] - same[0]).max() > 1e-2


def test_sgd_keeps_what_it_is_made_of():
    optimizer = DarknetSGD(0.1, momentum=0.8, decay=0.01, global_clipnorm=3.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (again.momentum, again.decay, again.global_clipnorm) == (0.8, 0.01, 3.0)
    for wrong in ({"momentum": 1.0}, {"decay": -1}):
        with pytest.raises(ValueError, match=f"DarknetSGD: {next(iter(wrong))} must be"):
            DarknetSGD(**wrong)
