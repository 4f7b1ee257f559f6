"""Trains a detector, evaluates it and writes a run directory.

    python -m experiments.train                                  # drawn shapes, four minutes
    python -m experiments.train --dataset=voc:PATH --train_split=train+val --eval_split=test
    python -m experiments.train --output_dir=runs/mine --resume  # go on after an interruption

The paper's own recipe:

    python -m experiments.train --dataset=voc:PATH --model=paper --activations=linear \\
        --image_size=448 --batch_size=64 --epochs=135 --schedule=paper --warmup_epochs=5 \\
        --optimizer=sgd --learning_rate=1e-2 --weight_decay=5e-4 --clip_norm=0 --ema=0
"""

from .lib import flags as experiment_flags
from .lib import session

experiment_flags.define()


def main(argv):
    del argv
    session.train(experiment_flags.config_from_flags(), "experiments.train")


if __name__ == "__main__":
    experiment_flags.run(main)
