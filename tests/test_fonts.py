import warnings

import pytest
from fontTools.ttLib import TTFont

from yolov1 import fonts

COVERED = ["cat", "café", "niño", "Straße", "собака", "σκύλος", "a$_$b", "50 €"]


@pytest.mark.parametrize("text", COVERED)
def test_the_font_has_the_glyphs(text, no_other_font):
    assert fonts.runs(text) == [(text, fonts.default())]
    with TTFont(fonts.default()) as font:
        assert set(map(ord, text)) <= set(font.getBestCmap())
    assert fonts.readable((text,)) == (text,)


def test_what_no_font_has_is_called_by_its_number_and_said_once(no_other_font):
    names = ("cat", "猫", "caf\udce9", "two\nlines")
    with pytest.warns(UserWarning, match=r"glyphs of the class names 猫, 'caf\\udce9': .*fonts\]"):
        assert fonts.readable(names) == ("cat", "class 1", "class 2", "two lines")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fonts.readable(names)[1] == "class 1"


def test_other_fonts_are_looked_at_in_turn(no_other_font, monkeypatch):
    """Files that are no fonts are passed over."""
    has = {fonts.default(): "cat", "broken": "", "other": "cat猫 ", "last": "猫犬"}
    monkeypatch.setattr(fonts, "_paths", lambda: list(has))
    monkeypatch.setattr(fonts, "_glyphs", lambda path: frozenset(map(ord, has[path])))
    assert fonts.runs("cat") == [("cat", fonts.default())]
    assert fonts.runs("猫 cat") == [("猫 cat", "other")]
    assert fonts.runs("a犬猫t") == [
        ("a", fonts.default()),
        ("犬猫", "last"),
        ("t", fonts.default()),
    ]
    assert fonts.runs("猫鳥") is None


def test_files_that_are_no_fonts_have_no_glyphs(tmp_path):
    (tmp_path / "x.ttf").write_bytes(b"no font")
    assert not fonts._glyphs(str(tmp_path / "x.ttf"))
    assert not fonts._glyphs(str(tmp_path / "missing.ttf"))
    assert {ord(c) for c in "Aя"} <= fonts._glyphs(fonts.default())


def test_families_of_matplotlib(no_other_font):
    assert fonts.families(["cat", "собака", "猫"]) == ["DejaVu Sans"]


def test_the_extra_has_the_glyphs_of_other_scripts():
    pytest.importorskip("noto_cjk_sans_otc", reason="the extra yolov1[fonts] is not installed")
    for name in ("圖片", "ねこ", "고양이", "ድመት", "बिल्ली"):
        assert fonts.readable((name,)) == (name,)
        assert fonts.runs(name)[0][1] != fonts.default()
