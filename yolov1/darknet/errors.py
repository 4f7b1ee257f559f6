"""The one exception of this part."""


class DarknetError(ValueError):
    """A file of Darknet's that is refused: says what and where, expected, got, what to do."""
