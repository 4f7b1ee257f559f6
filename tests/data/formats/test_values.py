import pytest

from yolov1.data import BadExampleError
from yolov1.data.formats.values import flag, identifier, in_order, number, read_json, whole


@pytest.mark.parametrize("value", [0, 0.0, "0", "0.0", "false", "False", " no ", "", None, False])
def test_what_means_no(value):
    assert flag(value, "iscrowd") is False


@pytest.mark.parametrize("value", [1, 1.0, "1", "true", "True", "YES", True])
def test_what_means_yes(value):
    assert flag(value, "iscrowd") is True


@pytest.mark.parametrize("value", [2, "2", -1, "x", [], "0 1"])
def test_what_means_neither(value):
    with pytest.raises(BadExampleError, match="iscrowd must be 0 or 1"):
        flag(value, "iscrowd")


def test_numbers():
    assert [number(v, "w") for v in (3, 2.5, "7", " 1e2 ")] == [3, 2.5, 7, 100]
    assert [whole(v, "id") for v in (3, 2.0, "10", "4.0")] == [3, 2, 10, 4]
    for value in (True, None, "x", "", [1], {}):
        with pytest.raises(BadExampleError, match="w must be a number, got"):
            number(value, "w")
    for value in ("nan", float("inf")):
        with pytest.raises(BadExampleError, match="w must be finite"):
            number(value, "w")
    with pytest.raises(BadExampleError, match="id must be a whole number, got 2.5"):
        whole(2.5, "id")


def test_ids_are_sorted_as_numbers():
    given = ["10", 9, 2.0, "x", "007"]
    assert in_order(identifier(v, "id") for v in given) == [2, 9, 10, "007", "x"]
    for value in (None, True, 2.5, "", []):
        with pytest.raises(BadExampleError):
            identifier(value, "id")


def test_json(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": {"b": 1}}')
    assert read_json(file) == {"a": {"b": 1}}
    for content, reason in (
        (b'{"a": 1, "a": 2}', "has the key 'a' twice"),
        (b"{", "is not JSON"),
        (b'{"a": "\xe9"}', "not text in UTF-8: line 1 has the byte 0xe9"),
        (b"[" * 100_000, "nested too deeply"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"a.json.*{reason}"):
            read_json(file)
