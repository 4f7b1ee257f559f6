import os

import pytest

from yolov1.files import replacing, safe_name, safe_names

AS_THEY_ARE = ["cat", "IMG_1.old", "dining table", "über", "猫", "a-b", "50%", "a[1]", "$x$", "_x"]
CHANGED = [
    *("a/b", "a:b", "a\\b", "a\nb", "", ".", "..", ".hidden", "end.", "end ", " begin"),
    *("con", "NUL.txt", "x" * 121, "猫" * 41, "x" * 4000, "caf\udce9", "a\0b", "\ud800", '"<>|'),
]


def test_what_can_stay_stays():
    assert [safe_name(name) for name in AS_THEY_ARE] == AS_THEY_ARE
    assert safe_names(AS_THEY_ARE) == AS_THEY_ARE


def test_every_text_names_a_file_of_its_own(tmp_path):
    names = [safe_name(text) for text in AS_THEY_ARE + CHANGED]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(os.fsencode(name)) <= 120 and name[0] != "."
        (tmp_path / f"00-{name}.jpg").touch()
        (tmp_path / name).mkdir()
    assert len(list(tmp_path.iterdir())) == 2 * len(names)


@pytest.mark.parametrize("limit", [20, 21, 22])
def test_a_long_name_is_cut_between_characters(limit):
    name = safe_name("猫" * 100, limit)
    assert name.startswith("猫猫猫") and limit - 2 <= len(name.encode()) <= limit
    assert name != safe_name("猫" * 101, limit)


def test_names_that_differ_by_case_or_normal_form_alone_are_told_apart():
    names = safe_names(["Cat", "cat", "dog", "caf\u00e9", "cafe\u0301", "a/b", "a:b"])
    assert names[2] == "dog" and len({name.casefold() for name in names}) == 7
    assert names[0].startswith("Cat-") and names[1].startswith("cat-")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_disk_that_is_full_is_an_error_of_the_file(tmp_path):
    (tmp_path / "a.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "a.json") as file:
        file.write("{}")
    assert caught.value.filename == str(tmp_path / "a.json") and not os.listdir(tmp_path)
