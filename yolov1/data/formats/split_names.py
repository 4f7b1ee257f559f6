"""What splits are called, and under which other names one may lie."""

NAMES = ("train", "trainval", "val", "valid", "validation", "test")  # in the order to list them
_ALIASES = {"val": ("val", "valid", "validation"), "valid": ("valid", "val")}


def spellings(name) -> tuple[str, ...]:
    """The names to look for when a split is asked for: its own first."""
    return _ALIASES.get(name, (name,))
