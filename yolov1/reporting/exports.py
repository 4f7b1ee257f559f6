"""The files that a run was exported as, and how far each is from the run."""

from yolov1.reporting.html import Html, join, number, percent, table, tag

COLUMNS = (
    *("export", "suppression", "MB", "ms", "/ run's", "mAP@0.5", "change", "COCO AP", "change"),
    *("predictions", "px", "99 %", "boxes", "new", "lost"),
)


def exports(run) -> Html:
    """The table of export.json; nothing of a run without exports."""
    rows = run.export.get("exports") or []
    if not rows:
        return Html("")
    shown = [row for row in rows if "ms" in row]
    own = run.export.get("run", {})
    network = ["the run itself", "", _megabytes(own), "", "", percent(own.get("map_voc07")), ""]
    network += [percent(own.get("map_coco")), "", *[""] * 6]
    absent = [
        tag("p", f"{_name(row)}: {row.get('error') or row.get('left_out')}", class_="soft")
        for row in rows
        if "ms" not in row
    ]
    wrong = [tag("p", text) for row in shown for text in _exceeded(row)]
    return join(
        [
            tag("p", _whence(run.export), class_="soft"),
            table(COLUMNS, [network, *map(_row, shown)], numeric_from=2),
            *wrong,
            *absent,
        ]
    )


def _whence(export) -> str:
    side = export.get("grid", {}).get("image_size")
    return (
        f"{number(export.get('images'))} images of {export.get('dataset')} {export.get('split')}. "
        "Milliseconds: median of an image, one by one, in turns with the network. Change: "
        "percentage points. Predictions: largest deviation; px: that of a box, in pixels of the "
        f"network's {side}, and of 99 % of the boxes that score above 0.25; new, lost: boxes "
        f"without a partner. {export.get('command', '')}"
    )


def _row(row) -> list:
    boxes, change = row["boxes"], row["change"]
    return [
        _name(row),
        row["nms"],
        _megabytes(row),
        number(row["ms"], 3),
        f"{row['ms'] / row['run_ms']:.2f}",
        percent(row["map_voc07"]),
        _points(change["map_voc07"]),
        percent(row["map_coco"]),
        _points(change["map_coco"]),
        f"{row['prediction_deviation']:.1e}",
        _pixels(boxes["deviation_px"]),
        _pixels(boxes["deviation_px_99"]),
        number(boxes["boxes"]),
        number(boxes["appeared"]),
        number(boxes["disappeared"]),
    ]


def _name(row) -> str:
    whole = ", uint8" if row.get("input") == "uint8" else ""
    return f"{row['format']} {row['precision']}{whole}"


def _megabytes(row) -> str:
    return f"{row['bytes'] / 1e6:.2f}" if row.get("bytes") else "–"


def _pixels(value) -> str:
    return "–" if value is None else f"{value:.3f}"


def _points(change) -> str:
    """Percentage points, with their sign."""
    return "–" if change is None else f"{100 * change:+.2f}"


def _exceeded(row) -> list[str]:
    return [
        f"{row['file']}: {fault['figure']} {number(fault['value'], 3)}, allowed "
        f"{number(fault['allowed'], 3)}."
        for fault in row.get("exceeded", ())
    ]
