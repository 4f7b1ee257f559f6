"""Fonts that have the glyphs of class names, which come in every script."""

import functools
import importlib.util
import warnings
from pathlib import Path

# Packages that hold font files: what Matplotlib brings, and the extra `fonts`.
_PACKAGES = ("matplotlib/mpl-data/fonts/ttf", "noto_cjk_sans_otc", "manimgx_fonts")
DEFAULT = "DejaVuSans.ttf"  # Latin, Greek, Cyrillic and more; comes with Matplotlib


def default() -> str:
    """The path of the font that is taken wherever it does."""
    return str(_folder(_PACKAGES[0]) / DEFAULT)


def runs(text: str) -> list[tuple[str, str]] | None:
    """A text in parts, each with the path of a font that has all its glyphs.

    Looked for in Matplotlib's own font, the packages of the extra ``fonts`` and the system; None
    where a character is in no font.
    """
    if text.isascii() and text.isprintable():
        return [(text, default())]
    parts = []
    for character in text:
        part, path = parts[-1] if parts else ("", None)
        if path is not None and ord(character) in _glyphs(path):
            parts[-1] = (part + character, path)
            continue
        path = _covering(character)
        if path is None:
            return None
        parts.append((character, path))
    return parts


@functools.cache
def readable(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of classes, by label, as they can be drawn here: on one line, and where no font has the
    glyphs of one, its number (``class 3``), with one warning that says so."""
    names = tuple(" ".join(name.split()) for name in names)
    hidden = [name for name in names if runs(name) is None]
    if hidden:
        some = ", ".join(ascii(name) if _is_broken(name) else name for name in hidden[:5])
        warnings.warn(
            f"no font here has all glyphs of the class names {some}"
            f"{' and others' if len(hidden) > 5 else ''}: in pictures and plots these classes are "
            "called by their numbers, 'class 0' and so on. Install the extra yolov1[fonts], or a "
            "font of the script (Noto's, for instance).",
            stacklevel=3,
        )
    return tuple(f"class {k}" if name in hidden else name for k, name in enumerate(names))


def families(texts) -> list[str]:
    """Names of fonts for Matplotlib's ``font.family``, the default first, that together have the
    glyphs of the texts."""
    paths = [path for text in texts for _, path in runs(text) or ()]
    return [_family(path) for path in dict.fromkeys([default(), *paths])]


# ------------------------------------------------------------------ details


@functools.cache
def _covering(character) -> str | None:
    return next((path for path in _paths() if ord(character) in _glyphs(path)), None)


def _folder(package) -> Path:
    name, _, inside = package.partition("/")
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) / inside if spec else Path("does not exist")


@functools.cache
def _paths() -> list[str]:
    from matplotlib import font_manager

    packaged = [sorted(_folder(name).glob("*.tt[cf]")) for name in _PACKAGES[1:]]
    system = [Path(path) for path in font_manager.findSystemFonts()]
    # Upright fonts of ordinary weight first; a last resort has a glyph for all, of the same box.
    system = [path for path in system if "lastresort" not in path.name.lower()]
    system.sort(key=lambda path: ("regular" not in path.name.lower(), path))
    return [default(), *map(str, sum(packaged, [])), *map(str, system)]


@functools.cache
def _glyphs(path) -> frozenset[int]:
    """The characters that a font file has glyphs for; none where it cannot be used."""
    from matplotlib import ft2font
    from PIL import ImageFont

    try:
        ImageFont.truetype(path, 20)
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):  # of bitmaps, or damaged
        return frozenset()


@functools.cache
def _family(path) -> str:
    from matplotlib import font_manager

    if path != default():
        font_manager.fontManager.addfont(path)
    return font_manager.FontProperties(fname=path).get_name()


def _is_broken(text) -> bool:
    """Whether it has bytes of a file name that is no UTF-8."""
    return any("\ud800" <= c <= "\udfff" for c in text)
