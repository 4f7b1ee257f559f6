"""A cfg file of Darknet's for images of 32 pixels, S=2, B=2 and six classes."""

# Small, so that it is traced in no time; dropout must be the same again, too.
CFG = """[net]
height=32
width=32
channels=3
[convolutional]
batch_normalize=1
filters=6
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky
[dropout]
probability=.3
[connected]
output=64
activation=linear
[detection]
classes=6
coords=4
num=2
side=2
sqrt=1
"""
