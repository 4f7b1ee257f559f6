"""Flags that hold several values: options NAME=VALUE, and rates by epoch."""


def parse_options(text: str) -> dict:
    """``'width=1.5,depth=2,name=x'`` to a dict, numbers and true / false as what they are.

    Raises:
        ValueError: a part that is not NAME=VALUE.
    """
    options = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = part.partition("=")
        if not separator or not name.strip():
            raise ValueError(f"options must be NAME=VALUE,NAME=VALUE, got {part!r} in {text!r}.")
        options[name.strip()] = _parse_value(value.strip())
    return options


def parse_rates(text: str) -> list[tuple[int, float]]:
    """``'0:0.01,75:0.001'`` to ``[(0, 0.01), (75, 0.001)]``.

    Raises:
        ValueError: not EPOCH:RATE pairs with rising epochs from 0 and positive rates.
    """
    try:
        pairs = [part.split(":") for part in text.split(",") if part.strip()]
        rates = [(int(epoch), float(rate)) for epoch, rate in pairs]
    except ValueError:
        rates = [(-1, 0.0)]
    epochs = [epoch for epoch, _ in rates]
    if rates and (
        epochs[0] != 0
        or epochs != sorted(set(epochs))
        or not all(0 < rate < float("inf") for _, rate in rates)
    ):
        raise ValueError(
            "--learning_rates must be EPOCH:RATE,EPOCH:RATE with epochs rising from 0 and positive "
            f"rates, such as '0:0.01,75:0.001', got {text!r}."
        )
    return rates


def _parse_value(text: str):
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
