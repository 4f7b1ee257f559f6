import keras
import numpy as np
import pytest

from yolov1.training.schedules import WarmupSchedule, epoch_table


def rates(schedule, *steps):
    return np.array([float(schedule(step)) for step in steps])


def test_paper_schedule_over_its_own_135_epochs():
    """1e-3 rising to 1e-2, 1e-2 up to epoch 75, 1e-3 for 30, 1e-4 for 30 (paper, section 2.2)."""
    schedule = WarmupSchedule("paper", 1e-2, steps=1350, warmup_steps=50)
    np.testing.assert_allclose(
        rates(schedule, 0, 25, 50, 749, 750, 1049, 1050, 1349),
        [1e-3, 5.5e-3, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4],
        rtol=1e-5,
    )


def test_paper_schedule_scales_with_the_length():
    schedule = WarmupSchedule("paper", 1.0, steps=27)
    np.testing.assert_allclose(rates(schedule, 0, 14, 15, 20, 21, 26), [1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_table_of_the_posts():
    """0.01, from epoch 75 0.001, from epoch 105 0.0001, and so on however long the training is."""
    table = [(0, 0.01), (75, 0.001), (105, 0.0001)]
    schedule = epoch_table(table, steps_per_epoch=625)
    ends = np.array([74, 75, 104, 105, 500]) * 625
    np.testing.assert_allclose(
        rates(schedule, 0, *ends), [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001], rtol=1e-6
    )
    np.testing.assert_allclose(rates(schedule, 75 * 625 - 1, 105 * 625 - 1), [0.01, 0.001])
    # Epochs that are no whole number of steps: 10 / 4 steps each, so that epoch 3 begins at 8.
    schedule = epoch_table([(0, 1.0), (3, 0.5)], steps_per_epoch=2.5)
    np.testing.assert_allclose(rates(schedule, 7, 8), [1.0, 0.5])


def test_cosine_falls_from_the_peak_to_a_hundredth():
    schedule = WarmupSchedule("cosine", 2.0, steps=110, warmup_steps=10)
    np.testing.assert_allclose(
        rates(schedule, 0, 10, 60, 110), [0.2, 2.0, 2 * (0.01 + 0.99 / 2), 0.02], rtol=1e-5
    )


def test_constant():
    schedule = WarmupSchedule("constant", 3e-4, steps=10)
    np.testing.assert_allclose(rates(schedule, 0, 5, 9), 3e-4)


def test_survives_serialisation():
    schedule = WarmupSchedule("cosine", 0.5, steps=10, warmup_steps=2)
    optimizer = keras.optimizers.SGD(schedule)
    copy = keras.optimizers.SGD.from_config(optimizer.get_config())
    np.testing.assert_array_equal(
        rates(copy._learning_rate, *range(10)), rates(schedule, *range(10))
    )


def test_refused():
    with pytest.raises(ValueError, match="one of paper, cosine, constant, got 'linear'"):
        WarmupSchedule("linear", 1.0, 10)
    with pytest.raises(ValueError, match=r"warmup_steps must be in \[0, 10\), got 10"):
        WarmupSchedule("cosine", 1.0, 10, 10)


def test_a_table_of_one_rate():
    np.testing.assert_allclose(rates(epoch_table([(0, 0.25)], 3.0), 0, 1, 100), 0.25)
