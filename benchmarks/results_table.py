"""docs/results.toml -> docs/results.md, and whether the README and its pages say the same.

The TOML file says of every figure of those pages which command measured it, and where its numbers
are: in the CSV files of benchmarks/results, with revision, machine and date in each row, or, of
what was measured once and by hand, in the words of the page themselves. Its first lines say how
an entry is written.
"""

import csv
import functools
import math
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TOML, PAGE = ROOT / "docs/results.toml", ROOT / "docs/results.md"
# Pages whose figures are all held to the data.
HELD = ("README.md", "docs/measured.md", "docs/deploy.md", "docs/research.md")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
# A number with a unit of what is measured: the mark of a figure in running text.
FIGURE = re.compile(
    r"(?<![\w.@=])\d[\d,]*(?:\.\d+)?\s*(?:%|ms\b|microseconds|seconds|s\b|(?:images|frames)/s|GB/s|MB\b"
    r"|times (?:as|the|that|of|within))|mAP [\d.]+|within \d+e-\d+"
)


class Value(NamedTuple):
    """A number of a table, and how far it varies."""

    number: float
    low: float | None
    high: float | None
    rows: int  # how many measurements it is the mean of


def load(path=TOML) -> dict:
    with Path(path).open("rb") as file:
        return tomllib.load(file)


# ---------------------------------------------------------------------------------------- numbers


@functools.cache
def rows_of(path) -> list[dict]:
    with (ROOT / "benchmarks/results" / path).open(newline="") as file:
        return list(csv.DictReader(file))


def select(rows, where) -> list[dict]:
    """The rows whose columns say what `where` says.

    Raises:
        ValueError: there is none.
    """
    found = [row for row in rows if all(row[name] == str(v) for name, v in where.items())]
    if not found:
        raise ValueError(f"docs/results.toml: no row has {where}.")
    return found


def value_of(rows, column, spread=()) -> Value:
    """The mean of a column; its spread is that of the rows, or of one row in two columns."""
    numbers = [float(row[column]) for row in rows]
    if len(numbers) > 1:
        return Value(sum(numbers) / len(numbers), min(numbers), max(numbers), len(numbers))
    low, high = (float(rows[0][name]) for name in spread) if spread else (None, None)
    return Value(numbers[0], low, high, 1)


def cells_of(run, table, row, column) -> list[Value]:
    """The numbers of a cell, in their order."""
    column = {"value": table.get("value"), "spread": table.get("spread", ())} | column
    rows, values = rows_of(run["csv"]), []
    for mine in row["where"]:
        for part in table.get("parts", [{}]):
            where = run.get("where", {}) | column.get("where", {}) | mine | part
            found = select(rows, where)
            if "against" in column:
                found = _differences(found, select(rows, where | column["against"]), column)
            values.append(value_of(found, column["value"], column["spread"]))
    return values


def _differences(rows, others, column) -> list[dict]:
    """What the rows say, less what others say of the same seed."""
    of_seed = {row["seed"]: float(row[column["value"]]) for row in others}
    return [
        {column["value"]: float(row[column["value"]]) - of_seed[row["seed"]]}
        for row in rows
        if row["seed"] in of_seed
    ]


def measured_rows(run) -> list[dict]:
    """The rows that a run's tables show."""
    if "csv" not in run:
        return []
    found = []
    for table in run.get("table", ()):
        for row in table["rows"]:
            for mine in row.get("where", ()):
                for column in table["columns"]:
                    where = run.get("where", {}) | column.get("where", {}) | mine
                    found += select(rows_of(run["csv"]), where)
    return found or select(rows_of(run["csv"]), run.get("where", {}))


# ------------------------------------------------------------------------------------------- page


def render(book) -> str:
    """The page, as text."""
    parts = [
        "<!-- Written by `python -m benchmarks.check_results --write` from results.toml. -->\n"
    ]
    parts.append(f"# {book['title']}\n\n{book['text'].strip()}\n")
    section = None
    for run in book["run"]:
        if run["section"] != section:
            section = run["section"]
            parts.append(f"## {section}\n")
        parts.append(_run(book, run))
    return "\n".join(parts)


def _run(book, run) -> str:
    lines = [f"### {run['title']}", "", "```sh", run["command"].strip(), "```", ""]
    lines += [provenance(book, run), ""]
    for table in run.get("table", ()):
        lines += [*_table(run, table), ""]
    for figure in run.get("figure", ()):
        lines.append(f"- {_one_line(figure['quote'])} *({figure['spread']})*")
    if run.get("figure"):
        lines.append("")
    if run.get("note"):
        lines += [run["note"].strip(), ""]
    if run.get("check"):
        lines += [_check(run), ""]
    return "\n".join(lines)


def provenance(book, run) -> str:
    """Revision, machine, date and seeds in a sentence."""
    rows = measured_rows(run)

    def all_of(column):
        known = dict.fromkeys(row[column] for row in rows if row.get(column))
        return ", ".join(known) or run.get(column, "unknown")

    machine = run.get("machine") or ", ".join(
        dict.fromkeys(book["machines"].get(row["device"], row["device"]) for row in rows)
    )
    date = str(run["date"]) if "date" in run else all_of("date")
    revision = run.get("revision") or all_of("revision")
    seeds = sorted({int(row["seed"]) for row in rows if row.get("seed")})
    of = f" Seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}." if seeds else ""
    return f"Revision {revision}; {machine}; {date}.{of} {run['spread']}"


def _table(run, table):
    heads = [table.get("head", ""), *(column["head"] for column in table["columns"])]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in table["rows"]:
        if "cells" in row:
            cells = row["cells"]
        else:
            cells = [
                ", ".join(map(_text, cells_of(run, table, row, column)))
                for column in table["columns"]
            ]
        yield f"| {row['head']} | {' | '.join(cells)} |"


def _text(value: Value) -> str:
    if value.low is None:
        return short(value.number)
    return f"{short(value.number)} ({short(value.low)} to {short(value.high)})"


def short(number: float) -> str:
    """Three significant digits, and whole numbers whole."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def _check(run) -> str:
    intervals = "; ".join(
        f"{figure['what']} in [{figure['low']:g}, {figure['high']:g}]"
        for figure in run["check"]["figure"]
    )
    seconds = run["check"]["seconds"]
    return f"`check_results --only={run['name']}` (about {seconds} s): {intervals}."


def _one_line(text) -> str:
    return " ".join(text.split())


# ------------------------------------------------------------------------------------- held pages


def held_text() -> str:
    """The held pages, one after the other."""
    return "\n\n".join((ROOT / page).read_text(encoding="utf-8") for page in HELD)


def disagreements(pages: str, book) -> list[str]:
    """What the held pages say otherwise than the data, or say alone: a sentence of each."""
    text = _one_line(pages)
    quotes = [_one_line(f["quote"]) for run in book["run"] for f in run.get("figure", ())]
    wrong = [f"{quote!r} is on no held page" for quote in quotes if quote not in text]
    for run in book["run"]:
        for figure in run.get("figure", ()):
            wrong += _wrong_numbers(run, figure)
    known = {}
    for run in book["run"]:
        for table in run.get("table", ()):
            if "readme" in table:
                known.setdefault(table["readme"], []).append((run, table))
    for heads, rows in tables(pages):
        name = plain(heads[0]) or plain(heads[1])
        if name not in known:
            wrong.append(f"the table {name!r} has no entry in docs/results.toml")
            continue
        for cells in rows:
            wrong += _wrong_cells(known[name], heads, cells)
    for paragraph in paragraphs(pages):
        if FIGURE.search(paragraph) and not any(quote in paragraph for quote in quotes):
            if not any(start in paragraph for start in book["no_figures"]):
                wrong.append(f"figures without an entry in docs/results.toml: {paragraph[:160]!r}")
    return wrong


def _wrong_numbers(run, figure):
    """What is wrong with numbers of a quote of which the entry says where they are."""
    for number in figure.get("numbers", ()):
        value = ratio(rows_of(run["csv"]), number)
        if number["text"] not in figure["quote"] or not agrees(number["text"], value):
            yield f"{figure['quote']!r}: {number['text']} is {short(value)} in the rows"


def ratio(rows, entry) -> float:
    """The column `value` of the one row with `where`, over that of the one with `over`, or
    over `divide`.

    Raises:
        ValueError: no such row, or several.
    """

    def of(where):
        found = select(rows, where)
        if len(found) > 1:
            raise ValueError(f"{len(found)} rows have {where}, expected one.")
        return float(found[0][entry["value"]])

    over = of(entry["over"]) if "over" in entry else entry.get("divide", 1)
    return of(entry["where"]) / over


def _wrong_cells(entries, heads, cells):
    """What is wrong with a row of a table that stands in `entries`, (run, table) pairs."""
    label, known = plain(cells[0]), False
    for run, table in entries:  # several may be about a row, with other columns each
        for row in table["rows"]:
            if plain(row["head"]) == label:
                for k, column in enumerate(table["columns"]):
                    # Where two columns have the same heading, the entry says which one it is.
                    place = column.get("place") or list(map(plain, heads)).index(column["head"])
                    yield from _wrong_cell(run, table, row, k, cells[place])
                known = True
    if not known:
        yield f"the row {label!r} has no entry in docs/results.toml"


def _wrong_cell(run, table, row, k, cell):
    """What is wrong with a cell of a held page, which the k-th column of the entry is about."""
    column, shown = table["columns"][k], NUMBER.findall(plain(cell))
    if "cells" in row:
        expected = row["cells"][k]
        agree = NUMBER.findall(plain(expected)) == shown
    else:
        values = cells_of(run, table, row, column)
        expected = ", ".join(map(_text, values))
        numbers = [value.number for value in values]
        if table.get("spread_in_readme"):
            numbers = [n for v in values for n in (v.number, v.low, v.high) if n is not None]
        agree = 0 < len(shown) <= len(numbers) and all(map(agrees, shown, numbers))
        # What all are held to has no difference to itself.
        agree |= "against" in column and not shown and not any(numbers)
    if not agree:
        yield (
            f"{plain(row['head'])!r}, {column['head']!r}: a page has {cell!r}, the rows {expected}"
        )


def agrees(text: str, number: float) -> bool:
    """Whether a number was written as `text`: within half of its last digit."""
    mantissa, _, exponent = text.replace(",", "").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(text.replace(",", "")) - number) <= 0.5 * unit * (1 + 1e-9)


def plain(cell: str) -> str:
    """A cell without emphasis, code marks and links."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)|[*`]", r"\1", cell).strip()


def tables(markdown: str):
    """(heads, rows) of each table."""
    lines = markdown.splitlines()
    for k, line in enumerate(lines):
        if re.fullmatch(r"\|[-| :]+\|", line) and k:
            rows = []
            for row in lines[k + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(_split(row))
            yield _split(lines[k - 1]), rows


def _split(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def paragraphs(markdown: str):
    """Running text, each paragraph in one line: no code, tables, headings or pictures."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    for part in re.split(r"\n\s*\n", text):
        if part.strip() and not part.lstrip().startswith(("|", "#", "!")):
            yield _one_line(part)
