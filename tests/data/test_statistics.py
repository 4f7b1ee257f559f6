import json

import numpy as np

from tests.shared import shared
from yolov1 import data


def drawn(boxes, labels, difficult=None, size=(50, 100)):
    flags = difficult or [False] * len(labels)
    return data.Example(
        "x", boxes, labels, flags, size, draw=lambda: np.zeros((*size, 3), np.uint8)
    )


def test_by_hand():
    dataset = data.Dataset(
        [
            drawn([[0.5, 0.5, 0.2, 0.4], [0.52, 0.5, 0.1, 0.1]], [0, 0]),
            drawn([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.5, 0.5]], [1, 0], [False, True]),
            drawn([], []),
        ],
        ["cat", "dog"],
        name="by hand",
        skipped=[("a.xml", "broken")],
    )
    found = data.statistics(dataset, sides=(7, 50), image_size=100)
    assert json.loads(json.dumps(found)) == found
    assert (found["name"], found["images"], found["images_without_boxes"]) == ("by hand", 3, 1)
    assert (found["boxes"], found["difficult"]) == (4, 1)
    assert found["classes"]["cat"] == {"boxes": 3, "images": 2, "difficult": 1, "share": 0.75}
    assert found["boxes_per_image"]["max"] == 2 and found["image_width"]["median"] == 100
    np.testing.assert_allclose(found["box_width_px"]["max"], 50)
    np.testing.assert_allclose(found["box_area_share"]["min"], 0.01, rtol=1e-6)
    # The two cats share a cell of the coarse grid; the difficult one is not trained on.
    assert found["collisions"]["7"] == {"lost": 1, "share": 1 / 3}
    assert found["collisions"]["50"]["lost"] == 0
    assert found["skipped"] == [["a.xml", "broken"]] and found["notes"] == []


def test_no_boxes_at_all():
    found = data.statistics(data.Dataset([drawn([], [])], ["cat"]))
    assert found["boxes"] == 0 and found["box_width_px"] is None
    assert found["collisions"]["7"] == {"lost": 0, "share": 0.0}


def test_collisions_of_bccd():
    dataset = data.open(f"voc:{shared('data', 'bccd')}", "train+val+test", verify=False)
    found = data.statistics(dataset)["collisions"]
    shares = [found[side]["share"] for side in ("7", "9", "11", "14")]
    assert shares == sorted(shares, reverse=True)
    np.testing.assert_allclose([shares[0], shares[3]], [0.036, 0.005], atol=0.001)
