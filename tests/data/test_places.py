import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from yolov1.data import places
from yolov1.data.places import Place, read_places, stamp


def files(folder, count, size=5000):
    contents = [np.random.default_rng(k).bytes(size) for k in range(count)]
    for k, content in enumerate(contents):
        (folder / f"{k}.bin").write_bytes(content)
    return contents


def place(file, start, length):
    return Place(file, start, length, stamp(file))


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_the_bytes(tmp_path):
    contents = files(tmp_path, 3)
    wanted = [(2, 0, 5000), (0, 17, 400), (2, 4999, 1), (1, 5000, 0), (0, 0, 1)]
    found = read_places([place(tmp_path / f"{k}.bin", *part) for k, *part in wanted])
    assert found == [contents[k][start : start + length] for k, start, length in wanted]
    assert read_places([]) == []


def test_few_files_are_open_and_they_are_closed(tmp_path):
    places._opened.cache_clear()
    before = open_descriptors()
    contents = files(tmp_path, 3 * places.OPEN_FILES, size=100)
    every = [place(tmp_path / f"{k}.bin", 0, 100) for k in range(len(contents))]
    assert read_places(every) == contents
    assert open_descriptors() == before + places.OPEN_FILES
    places._opened.cache_clear()
    assert open_descriptors() == before


def test_many_threads_and_more_files_than_are_kept_open(tmp_path):
    """A descriptor that one thread closes under another would read another file, or none."""
    contents = files(tmp_path, places.OPEN_FILES + 20, size=300)
    every = [place(tmp_path / f"{k}.bin", 0, 300) for k in range(len(contents))]
    start = threading.Barrier(8)

    def read(seed):
        start.wait()
        for k in np.random.default_rng(seed).integers(0, len(every), 400):
            assert read_places([every[k]]) == [contents[k]]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))


@pytest.mark.parametrize("change", ["shorter", "longer", "in place"])
def test_a_file_that_was_changed(tmp_path, change):
    (content,) = files(tmp_path, 1)
    file = tmp_path / "0.bin"
    wanted = place(file, 4000, 500)
    assert read_places([wanted]) == [content[4000:4500]]
    size = {"shorter": 4200, "longer": 5001, "in place": 5000}[change]
    file.write_bytes(bytes(size))
    os.utime(file, ns=(0, wanted.stamp[1] + 1))
    message = rf"0\.bin was changed .*: the 500 bytes at 4000 are not read .* got {size} of"
    with pytest.raises(ValueError, match=message):
        read_places([wanted])
    assert len(read_places([place(file, 4000, 100)])[0]) == 100  # found anew


def test_a_file_that_was_replaced_or_is_gone(tmp_path):
    (content,) = files(tmp_path, 1)
    file, other = tmp_path / "0.bin", tmp_path / "other.bin"
    wanted = place(file, 0, 5000)
    assert read_places([wanted]) == [content]
    other.write_bytes(content[::-1])
    os.utime(other, ns=(0, wanted.stamp[1] + 1))
    os.replace(other, file)
    assert read_places([wanted]) == [content]  # the one that is open
    assert read_places([place(file, 0, 5000)]) == [content[::-1]]
    file.unlink()
    places._opened.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"0\.bin"):
        read_places([wanted])
