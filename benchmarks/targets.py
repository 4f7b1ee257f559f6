"""Ratios that a benchmark is meant to reach, judged."""

from collections.abc import Iterable


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b, or None where one of them was not measured."""
    return a / b if a and b else None


def table(rules: Iterable[tuple]) -> list[tuple[str, str, str, str]]:
    """(case, target, measured, verdict) of every target, as text.

    Args:
        rules: (case, measured or None, "at most" or "at least", target); without a target (None)
            where none is set.
    """
    lines = [("case", "target", "measured", "")]
    for case, measured, kind, target in rules:
        wanted = f"{kind} {target:g}" if target else ""
        if measured is None:
            lines.append((case, wanted, "-", "not measured"))
            continue
        verdict = ""
        if target:
            missed = measured / target if kind == "at most" else target / measured
            verdict = "met" if missed <= 1 else f"missed by a factor of {missed:.2f}"
        lines.append((case, wanted, f"{measured:.3g}", verdict))
    return lines


def show(lines: list[tuple[str, str, str, str]]) -> None:
    """Prints what `table` gives; nothing where no case is in it."""
    for case, target, measured, verdict in lines if len(lines) > 1 else ():
        print(f"{case:54}{target:16}{measured:10}{verdict}")
