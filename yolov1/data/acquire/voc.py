"""What the archives of PASCAL VOC hold, and how to tell that they are the right ones."""

from typing import NamedTuple


class Archive(NamedTuple):
    year: int
    name: str
    splits: tuple[str, ...]
    size: int  # bytes
    sha256: str


# Sizes and checksums as TensorFlow Datasets (url_checksums/voc.txt) publishes them; torchvision's
# prototype data sets have the same checksums.
VOC_ARCHIVES = (
    Archive(
        *(2007, "VOCtrainval_06-Nov-2007.tar", ("train", "val", "trainval"), 460_032_000),
        "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
    ),
    Archive(
        *(2007, "VOCtest_06-Nov-2007.tar", ("test",), 451_020_800),
        "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
    ),
    Archive(
        *(2012, "VOCtrainval_11-May-2012.tar", ("train", "val", "trainval"), 1_999_639_040),
        "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    ),
)
