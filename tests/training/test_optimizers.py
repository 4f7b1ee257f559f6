import keras
import numpy as np
import pytest
import tensorflow as tf

from yolov1.training.config import TrainConfig
from yolov1.training.optimizers import (
    MovingAverage,
    build_optimizer,
    decayed_kernels,
    gradient_decay,
)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Conv2D(2, 3, name="conv"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="dense"),
        ]
    )


def test_decay_acts_on_kernels_alone(model):
    assert [v.name for v in decayed_kernels(model)] == ["kernel", "kernel"]


def test_sgd_with_decay_is_darknets_update(model):
    """Darknet (spec 3.4): buffer += g - decay * B * w; w += lr / B * buffer; buffer *= momentum,
    with g the sum of the negative gradients over the B images of the batch."""
    config = TrainConfig(
        optimizer="sgd",
        learning_rate=0.1,
        schedule="constant",
        warmup_epochs=0,
        weight_decay=0.05,
        clip_norm=0,
    )
    optimizer = build_optimizer(config, steps_per_epoch=1)
    decay = gradient_decay(config, model)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    kernel = model.get_layer("dense").kernel
    weight, buffer, batch = kernel.numpy().astype(np.float64), 0.0, len(images)

    for _ in range(3):
        with tf.GradientTape(persistent=True) as tape:
            per_image = tf.reduce_sum(tf.square(model(images)), axis=1)
            mean, total = tf.reduce_mean(per_image), tf.reduce_sum(per_image)
            loss = mean + decay()
        gradient_of_sum = tape.gradient(total, kernel.value).numpy()
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        buffer = buffer - gradient_of_sum - 0.05 * batch * weight
        weight = weight + 0.1 / batch * buffer
        buffer = buffer * 0.9
        np.testing.assert_allclose(kernel.numpy(), weight, rtol=2e-5, atol=1e-6)


def test_adamw_decays_by_itself_and_spares_biases_and_norms(model):
    config = TrainConfig(optimizer="adamw", weight_decay=0.1)
    assert gradient_decay(config, model)() == 0.0
    optimizer = build_optimizer(config, steps_per_epoch=1)
    spared = [v.path for v in model.trainable_variables if not optimizer._use_weight_decay(v)]
    assert spared == [v.path for v in model.trainable_variables if "kernel" not in v.path]


def test_float16_gets_loss_scaling():
    config = TrainConfig(precision="mixed_float16")
    optimizer = build_optimizer(config, 10)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def test_moving_average_of_all_weights_and_swap(model):
    average = MovingAverage(model, decay=0.5)
    start = [w.numpy() for w in model.weights]
    moved = [w + 1 for w in start]
    model.set_weights(moved)
    average.update(1000)  # (1 + 1000) / (10 + 1000) is above 0.5: the decay is 0.5
    average.swap()
    for weight, first in zip(model.get_weights(), start, strict=True):
        np.testing.assert_allclose(weight, first + 0.5, rtol=1e-6, atol=1e-6)
    average.swap()
    for weight, value in zip(model.get_weights(), moved, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_moving_average_forgets_the_start_early(model):
    average = MovingAverage(model, decay=0.999)
    start = model.get_weights()[0]
    model.set_weights([w + 1 for w in model.get_weights()])
    average.update(0)  # decay 1 / 10
    np.testing.assert_allclose(average.averages[0].numpy(), start + 0.9, rtol=1e-5, atol=1e-5)
