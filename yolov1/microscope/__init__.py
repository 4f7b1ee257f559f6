"""What the loss sees in single images, cell by cell: over a training, and of a network as it is.

`record` has the file in which a run keeps what it saw of the images it watches, `looking` makes an
entry of it, and `measures` says what it means. `explain` takes one image apart, with `suppression`
for what was found, and `pictures` draws it. docs/microscope.md says what each number means.
"""
