"""What splits are called, and under which other names one may lie."""

NAMES = ("train", "trainval", "val", "valid", "validation", "test")  # in the order to list them
_SAME = ("val", "valid", "validation")


def spellings(name) -> tuple[str, ...]:
    """The names to look for when a split is asked for: its own first."""
    return (name, *(other for other in _SAME if other != name)) if name in _SAME else (name,)
