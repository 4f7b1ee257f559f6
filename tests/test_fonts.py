import warnings

import pytest
from fontTools.ttLib import TTFont

from yolov1 import fonts

COVERED = ["cat", "café", "niño", "Straße", "собака", "σκύλος", "a$_$b", "50 €"]


@pytest.fixture
def matplotlibs_own(monkeypatch):
    """No font but the one that is always there."""
    monkeypatch.setattr(fonts, "_paths", lambda: [fonts.default()])
    fonts.readable.cache_clear()
    yield
    fonts.readable.cache_clear()


@pytest.mark.parametrize("text", COVERED)
def test_the_font_has_the_glyphs(text, matplotlibs_own):
    assert fonts.covering(text) == fonts.default()
    with TTFont(fonts.covering(text)) as font:
        assert set(map(ord, text)) <= set(font.getBestCmap())
    assert fonts.readable((text,)) == (text,)


def test_what_no_font_has_is_called_by_its_number_and_said_once(matplotlibs_own):
    names = ("cat", "猫", "caf\udce9", "two\nlines")
    with pytest.warns(UserWarning, match=r"glyphs of the class names 猫, 'caf\\udce9': .*fonts\]"):
        assert fonts.readable(names) == ("cat", "class 1", "class 2", "two lines")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fonts.readable(names)[1] == "class 1"


def test_other_fonts_are_looked_at_in_turn(monkeypatch):
    """Files that are no fonts are passed over."""
    has = {fonts.default(): "cat", "broken": "", "other": "cat猫犬 .0123456789", "last": "猫"}
    monkeypatch.setattr(fonts, "_paths", lambda: list(has))
    monkeypatch.setattr(fonts, "_glyphs", lambda path: frozenset(map(ord, has[path])))
    assert fonts.covering("cat") == fonts.default()
    assert fonts.covering("猫cat") == "other"
    assert fonts.covering("猫鳥") is None


def test_files_that_are_no_fonts_have_no_glyphs(tmp_path):
    (tmp_path / "x.ttf").write_bytes(b"no font")
    assert not fonts._glyphs(str(tmp_path / "x.ttf"))
    assert not fonts._glyphs(str(tmp_path / "missing.ttf"))
    assert {ord(c) for c in "Aя"} <= fonts._glyphs(fonts.default())


def test_families_of_matplotlib(matplotlibs_own):
    assert fonts.families(["cat", "собака", "猫"]) == ["DejaVu Sans"]
