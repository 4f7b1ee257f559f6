"""Just enough HTML: whatever is not `Html` is escaped on its way into the page."""

import base64
import html
import io
import math

from PIL import Image


class Html(str):
    """Text that is HTML already."""


def escape(value) -> Html:
    """A value as it may stand in text and in quoted attributes."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def join(parts) -> Html:
    return Html("".join(escape(part) for part in parts))


def tag(name: str, *content, **attributes) -> Html:
    """An element; ``class_`` is the attribute class."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def table(headers, rows, *, numeric_from=1) -> Html:
    """A table that scrolls on a narrow screen; columns from `numeric_from` on align right."""

    def line(kind, cells):
        return tag(
            "tr",
            *(
                tag(kind, cell, class_="n" if k >= numeric_from else "t")
                for k, cell in enumerate(cells)
            ),
        )

    head = tag("thead", line("th", headers)) if headers else ""
    body = tag("tbody", *(line("td", row) for row in rows))
    return tag("div", tag("table", head, body), class_="scroll")


def pair(*parts) -> Html:
    """Side by side where there is room."""
    parts = [tag("div", part) for part in parts if part]
    return tag("div", *parts, class_="pair") if parts else Html("")


def tiles(pairs) -> Html:
    """Figures in boxes side by side: (words, figure) of each; nothing of none."""
    shown = [tag("div", tag("b", value), tag("span", text), class_="tile") for text, value in pairs]
    return tag("div", *shown, class_="tiles") if shown else Html("")


def bar(fraction, text) -> Html:
    """A horizontal bar over [0, 1] with its figure beside it."""
    if fraction is None or not math.isfinite(fraction):
        return escape(text)
    width = 100 * min(max(fraction, 0.0), 1.0)
    inner = Html(
        f'<span class="track"><span class="fill" style="width:{width:.1f}%"></span></span>'
    )
    return tag("span", inner, tag("span", text, class_="value"), class_="bar")


def image(data: bytes, kind: str, alt: str) -> Html:
    """A picture inside the page."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Html(f'<img loading="lazy" src="{source}" alt="{escape(alt)}">')


def photo(picture, alt: str, *, quality=85) -> Html:
    """A picture (uint8 ``[h, w, 3]``, of Pillow, or the bytes of a file) inside the page as JPEG,
    in an eighth of the bytes of a PNG file."""
    if isinstance(picture, bytes):
        picture = Image.open(io.BytesIO(picture))
    elif not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "jpeg", quality=quality)
    return image(file.getvalue(), "jpeg", alt)


def figure_of(picture, name: str, caption: str) -> Html:
    """A `photo` with a caption."""
    return tag("figure", photo(picture, name, quality=88), tag("figcaption", caption))


def number(value, digits=4) -> str:
    """A number for people: significant digits, thousands apart, a dash for what is not there."""
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or float(value).is_integer() and abs(value) >= 1:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(value) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def duration(seconds) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
