"""What every page has: it is complete in itself, and nothing in it loads or runs anything."""

from yolov1.reporting.html import escape, join
from yolov1.reporting.style import CSS


def page(title: str, parts) -> str:
    """A page as text.

    Args:
        title: of the window.
        parts: `Html` or text, one below the other.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing may be loaded or run, whatever a class name or a file name tries.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>{join(parts)}</main></body></html>\n"
    )
