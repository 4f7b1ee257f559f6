"""Trains a detector, evaluates it and writes a run directory.

    python -m experiments.train                                  # drawn shapes, four minutes
    python -m experiments.train --dataset=voc:PATH --train_split=train+val --eval_split=test
    python -m experiments.train --output_dir=runs/mine --resume  # go on after an interruption

The paper's own recipe, of those that --recipe has (docs/runs.md):

    python -m experiments.train --dataset=voc:PATH --recipe=paper
"""

from .lib import flags as experiment_flags
from .lib import recipes, session

experiment_flags.define()
recipes.define()


def main(argv):
    del argv
    config = experiment_flags.config_from_flags()
    recipes.announce(config)
    given = recipes.given(config)
    session.train(config, "experiments.train", given=given, recipe=recipes.named())


if __name__ == "__main__":
    experiment_flags.run(main)
