"""The layers of a network that came from Darknet's files: what was read, and where it went."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolov1.reporting import charts
from yolov1.reporting.html import Html, bar, join, number, percent, table, tag


def layers(run) -> Html:
    """The table of the layers and pictures of their weights; nothing of a run without them."""
    rows = run.darknet.get("layers") or []
    if not rows:
        return Html("")
    total = sum(row["parameters"] for row in rows)
    header = ["layer", "what", "output", "parameters", "share", "weights", "deviation"]
    read = [row for row in rows if row["parameters"]]
    remarks = run.darknet.get("remarks") or []
    notes = tag("div", tag("h3", f"Remarks on the files: {len(remarks)}"), *map(_line, remarks))
    pictures = [_ranges(read), _sizes(read)]
    return join(
        [
            tag("p", _whence(run.darknet), class_="soft"),
            tag("div", *(tag("div", picture) for picture in pictures if picture), class_="pair"),
            table(header, [_row(row, total) for row in rows], numeric_from=2),
            notes if remarks else "",
        ]
    )


def _line(text):
    return tag("p", text, class_="soft")


def _whence(darknet) -> str:
    version = darknet.get("version")
    words = [
        str(darknet.get("cfg", "")),
        str(darknet.get("weights", "")),
        f"{number(darknet.get('bytes'))} bytes",
        f"version {'.'.join(map(str, version))}" if version else "header of 2015",
        f"{number(darknet.get('seen'))} images seen",
    ]
    return " · ".join(words)


def _row(row, total) -> list:
    share = row["parameters"] / total if row["parameters"] else None
    here = row["low"] is not None and row["high"] is not None
    return [
        f"{row['index']} {row['section']}",
        _what(row),
        " × ".join(str(side) for side in (*row["output"][1:], row["output"][0])),
        number(row["parameters"]) if row["parameters"] else "",
        bar(share, percent(share)) if share is not None else "",
        f"{row['low']:.3g} .. {row['high']:.3g}" if here else "",
        number(row["deviation"], 3) if here else "",
    ]


def _what(row) -> str:
    """What a section does, in the words of its keys: "16 of 3 × 3, batch norm, leaky"."""
    options = row["options"]
    words = []
    if "filters" in options:
        words.append(f"{options['filters']} of {options.get('size', 1)} × {options.get('size', 1)}")
    elif "size" in options and row["section"] == "maxpool":
        words.append(f"{options['size']} × {options['size']}")
    if options.get("stride", "1") != "1":
        words.append(f"every {options['stride']}")
    if "probability" in options:
        words.append(f"drops {options['probability']}")
    if options.get("batch_normalize", "0") != "0":
        words.append("batch norm")
    if "activation" in options:
        words.append(options["activation"])
    if row["parameters"] and not row["from_file"]:
        words.append("not in the file: as it was drawn")
    return ", ".join(words)


def _ranges(rows) -> Html:
    """Lowest, highest and typical weight of each layer."""
    rows = [row for row in rows if row["low"] is not None and row["high"] is not None]
    if not rows:
        return Html("")
    figure = Figure()
    axes = figure.add_subplot()
    x = [row["index"] for row in rows]
    axes.plot(x, [row["high"] for row in rows], label="highest", marker="o", markersize=3)
    axes.plot(x, [row["low"] for row in rows], label="lowest", marker="o", markersize=3)
    both = [row["deviation"] or 0 for row in rows]
    axes.plot(x, both, label="standard deviation", marker="o", markersize=3)
    _by_layer(axes)
    return charts.to_svg(figure, "Weights of each layer")


def _sizes(rows) -> Html:
    """How many numbers each layer has."""
    figure = Figure()
    axes = figure.add_subplot()
    heights = [row["parameters"] for row in rows]
    axes.bar([row["index"] for row in rows], heights, color=charts.COLOURS[0])
    axes.set_yscale("log")
    _by_layer(axes)
    return charts.to_svg(figure, "Parameters of each layer")


def _by_layer(axes):
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
