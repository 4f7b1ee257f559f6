import pytest

from yolov1.names import by_number, look_alikes, read_names


@pytest.mark.parametrize(
    "content, names",
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n\r\n", ("cat", "dog")),  # Windows Notepad
        (b"cat\rdog", ("cat", "dog")),
        ("Käse\n圖片\n".encode(), ("Käse", "圖片")),
        (b" traffic light \n", ("traffic light",)),
    ],
)
def test_a_line_a_name(tmp_path, content, names):
    (tmp_path / "classes.txt").write_bytes(content)
    assert read_names(tmp_path / "classes.txt") == names


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"cat\n\ndog\n", "line 2 is blank. A line's number is its class"),
        (b"\ncat\n", "line 1 is blank"),
        (b"cat\ndog\ncat\n", "line 3 repeats the name 'cat' of line 1"),
        (b"", "names no class"),
        (b"\n\n", "names no class"),
        (b"cat\nK\xe4se\n", "not text in UTF-8: line 2 has the byte 0xe4. Save it as UTF-8"),
        ("cat\n".encode("utf-16"), "not text in UTF-8: line 1 has the byte 0xff"),
        ("cat\n".encode("utf-16-le"), "not text in UTF-8: line 1 has the byte 0x00"),
    ],
)
def test_a_file_that_names_no_classes(tmp_path, content, reason):
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"classes.txt.*{reason}"):
        read_names(tmp_path / "classes.txt")


def test_ids_are_kept():
    assert by_number({1: "dog", 0: "cat"}, "x") == (("cat", "dog"), [])
    names, (remark,) = by_number({2: "cat", 5: "dog"}, "x")
    assert names == ("class 0", "class 1", "cat", "class 3", "class 4", "dog")
    assert remark.startswith("no name for class 0, 1, 3, 4;")
    for numbered, reason in (
        ({}, "names no class"),
        ({-1: "a"}, "ids must be from 0"),
        ({10**6: "a"}, "ids must be from 0 to 9999"),
        ({0: "a", 1: "a"}, "class 1 repeats the name 'a' of class 0"),
        ({0: ""}, "class 0 has no name"),
    ):
        with pytest.raises(ValueError, match=reason):
            by_number(numbered, "x")


def test_names_that_look_alike():
    (remark,) = look_alikes(("Helmet", "person", "helmet"))
    assert "'Helmet' and 'helmet' differ by case" in remark
    assert len(look_alikes(("a b", "a  b", "caf\u00e9", "cafe\u0301"))) == 2
    assert look_alikes(("cat", "cats", "dog")) == []
