"""Requests in this process: answers, limits, refusals, figures."""

import functools
import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("httpx2", reason="starlette's test client needs httpx2, of the extra dev")

from fastapi.testclient import TestClient

from tests.serving.conftest import picture
from yolov1.serving.app import create_app, read_page
from yolov1.serving.service import Service
from yolov1.serving.uploads import Limits

LIMITS = Limits(body_bytes=50_000, pixels=10_000, seconds=5)
PNG = {"content-type": "image/png"}
FULL = {"form": "full"}


@pytest.fixture
def service(colours):
    return Service(colours, limits=LIMITS, batch_size=4, queue=8)


@pytest.fixture
def client(service):
    with TestClient(create_app(service, {"model": "colours"})) as client:
        yield client


def post(client, content, headers=PNG, path="/detect", **options):
    return client.post(path, content=content, headers=headers, **options)


def refused(response, status, *words):
    assert response.status_code == status, response.text
    (sentence,) = response.json().values()
    assert sentence.endswith(".") and all(word in sentence for word in words), sentence
    return True


# -------------------------------------------------------------------------------- answers


def test_one_picture(client):
    answer = post(client, picture(), params=FULL).json()
    assert answer.pop("seconds") > 0
    assert answer == {
        "images": [
            {"id": 1, "file_name": None, "width": 20, "height": 10}
            | {"orientation": 1, "batch_size": 1}
        ],
        "categories": [
            {"id": 1, "name": "one"},
            {"id": 2, "name": "two"},
            {"id": 3, "name": "<three>"},
        ],
        "results": [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 8, 5], "score": 0.8}],
    }


@pytest.mark.parametrize("content_type", [None, "", "application/octet-stream", "image/jpeg; q=1"])
def test_the_content_says_what_kind_it_is(client, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    assert len(post(client, picture(), headers).json()) == 1


def test_a_form_of_several_and_ids_of_ones_own(client):
    files = [("a", ("x.png", picture(red=51))), ("b", ("y.jpg", picture(51, 255, kind="BMP")))]
    answer = client.post("/detect", files=files, params=FULL | {"image_id": [7, 3]}).json()
    assert [(one["id"], one["file_name"]) for one in answer["images"]] == [
        (7, "x.png"),
        (3, "y.jpg"),
    ]
    assert [(r["image_id"], r["bbox"]) for r in answer["results"]] == [
        (7, [0, 0, 8, 5]),
        (3, [0, 0, 20, 5]),
    ]
    listed = client.post("/detect", files=files).json()
    assert listed == [r | {"image_id": k} for k, r in enumerate(answer["results"], 1)]


def test_our_own_reader_takes_the_list(client, tmp_path):
    from yolov1 import data
    from yolov1.evaluation import result_files

    (tmp_path / "results.json").write_bytes(
        post(client, picture(), params={"image_id": 12}).content
    )
    draw = functools.partial(np.zeros, (10, 20, 3), np.uint8)
    example = data.Example("12", [], [], [], (10, 20), draw=draw)
    dataset = data.Dataset([example], ["one", "two", "<three>"])
    full = post(client, picture(), params=FULL).json()
    categories = {c["id"]: c["name"] for c in full["categories"]}
    (found,), _ = result_files.read_results(
        tmp_path / "results.json", dataset, categories=categories, files={12: "12"}
    )
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 0.4, 0.5]])
    assert found.labels.tolist() == [1] and found.scores.tolist() == [0.8]


def test_the_threshold(client):
    for least, boxes in ((0.05, 1), (0.79, 1), (0.8, 0), (1, 0)):
        answer = post(client, picture(), params={"score_threshold": least})
        assert len(answer.json()) == boxes, least


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_boxes_are_those_of_the_upright_picture(client, orientation, kind):
    exif = Image.Exif()
    exif[274] = orientation
    answer = post(client, picture(kind=kind, exif=exif), params=FULL).json()
    (image,), (result,) = answer["images"], answer["results"]
    width, height = (10, 20) if orientation >= 5 else (20, 10)
    assert (image["width"], image["height"]) == (width, height)
    assert result["bbox"] == pytest.approx([0, 0, 0.4 * width, 0.5 * height], abs=0.1)


KINDS = {"CMYK": 0.8, "RGBA": 0.8, "P": 0.8, "L": 121 / 255, "I;16": 156 / 255}


@pytest.mark.parametrize("mode", KINDS)
def test_other_kinds_of_pixels(client, mode):
    colour = Image.new("RGB", (20, 10), (204, 102, 0))
    image = Image.new(mode, (20, 10), 40_000) if mode == "I;16" else colour.convert(mode)
    file = io.BytesIO()
    image.save(file, "TIFF")
    (result,) = post(client, file.getvalue()).json()
    assert result["score"] == pytest.approx(KINDS[mode], abs=0.01)


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "query, words",
    [
        ("score_threshold=0.04", ["score_threshold", "0.05"]),
        ("score_threshold=1.1", ["score_threshold"]),
        ("score_threshold=nan", ["score_threshold", "finite"]),
        ("score_threshold=much", ["score_threshold", "much"]),
        ("score_treshold=0.5", ["score_treshold"]),
        ("image_id=1&image_id=2", ["image_id", "2 times for 1"]),
        ("image_id=a", ["image_id"]),
        ("form=voc", ["form", "coco"]),
    ],
)
def test_parameters(client, query, words):
    assert refused(post(client, picture(), path=f"/detect?{query}"), 422, *words)


@pytest.mark.parametrize("declared", ["text/plain", "application/json", "video/mp4", "x"])
def test_what_says_that_it_is_no_picture(client, declared):
    assert refused(post(client, picture(), {"content-type": declared}), 415, declared, "image/jpeg")


def eps():
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize("content", [b"words", b"\0" * 999, b"<svg/>", eps()], ids=range(4))
def test_what_is_no_picture(client, content):
    assert refused(post(client, content), 415, "not an image that can be read", "JPEG")


def test_an_empty_body(client):
    assert refused(post(client, b""), 400, "empty")


def test_a_damaged_picture(client):
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    assert refused(post(client, file.getvalue()[:5000]), 422, "The picture cannot be read")


def test_a_file_of_a_form_is_called_by_its_name(client):
    files = [("a", ("good.png", picture())), ("b", ("../../etc/bad.png", b"words"))]
    assert refused(client.post("/detect", files=files), 415, "'../../etc/bad.png' is not an image")


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


@pytest.mark.parametrize("side", [101, 20_000])
def test_a_picture_that_would_fill_the_memory_is_not_decoded(client, monkeypatch, side):
    """The second has more pixels than Pillow itself would open."""
    from yolov1.data import images

    monkeypatch.setattr(images, "decode", lambda content: pytest.fail("it was decoded"))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 999))
    assert refused(post(client, bomb + chunk(b"IEND", b"")), 413, "10,000 pixels")


@pytest.mark.parametrize("said", [True, False])
def test_a_body_is_cut_off_where_it_becomes_too_large(client, said):
    sent = []

    def chunks():
        for _ in range(100):
            sent.append(1000)
            yield b"\0" * 1000

    content = b"\0" * 100_000 if said else chunks()
    assert refused(post(client, content), 413, "50,000 bytes")


def test_forms(client):
    form = {"content-type": "multipart/form-data; boundary=b"}
    assert refused(post(client, b"--b\r\nrubbish", form), 400, "form cannot be read")
    no_boundary = {"content-type": "multipart/form-data"}
    assert refused(post(client, b"x", no_boundary), 400, "boundary")
    assert refused(client.post("/detect", files={"a": (None, "words")}), 400, "no file")
    cut = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n' + picture()
    assert refused(post(client, cut, form), 400, "last boundary")
    many = [("a", ("a.png", picture()))] * 9
    assert refused(client.post("/detect", files=many), 400, "8")
    large = [("a", ("a.png", b"\0" * 60_000))]
    assert refused(client.post("/detect", files=large), 413, "50,000 bytes")


def test_nothing_of_a_form_touches_the_disk(colours, monkeypatch):
    import tempfile

    monkeypatch.setattr(
        tempfile.SpooledTemporaryFile, "rollover", lambda self: pytest.fail("it went to the disk")
    )
    large = np.random.default_rng(0).integers(0, 200, (800, 1000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(large).save(file, "BMP")
    assert len(file.getvalue()) > 2_000_000
    with TestClient(create_app(Service(colours))) as client:
        assert client.post("/detect", files={"a": ("a.bmp", file)}).status_code == 200


def test_a_picture_on_which_the_detector_fails(client):
    files = [("a", ("a.png", picture(blue=255)))]
    assert refused(client.post("/detect", files=files), 500, "failed", "it is too blue.")
    assert post(client, picture()).status_code == 200


def test_what_is_not_there(client):
    assert refused(client.get("/nothing"), 404, "/detect")
    assert refused(client.get("/docs"), 404)  # it would load its page from another host
    response = client.get("/detect")
    assert refused(response, 405, "GET") and response.headers["allow"] == "POST"


# ---------------------------------------------------------------------------- other routes


def test_health_and_figures(client):
    health = client.get("/healthz").json()
    assert (health["status"], health["model"]) == ("ok", "colours")
    assert [c["name"] for c in health["classes"]] == ["one", "two", "<three>"]
    assert all(re.fullmatch("#[0-9a-f]{6}", c["colour"]) for c in health["classes"])
    assert health["limits"]["body_bytes"] == 50_000
    post(client, picture())
    post(client, b"words")
    text = client.get("/metrics").text
    for line in (
        'yolov1_requests_total{path="/detect",status="200"} 1.0',
        'yolov1_requests_total{path="/detect",status="415"} 1.0',
        "yolov1_images_total 1.0",
        "yolov1_images_waiting 0.0",
        'yolov1_batch_images_bucket{le="4.0"} 1.0',
        'yolov1_request_seconds_count{path="/detect"} 2.0',
    ):
        assert line in text.splitlines(), line
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/openapi.json"])
def test_what_can_be_got_has_a_head(client, path):
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_health_when_the_detector_has_stopped(client, service):
    service.batcher.close()
    response = client.get("/healthz")
    assert response.status_code == 503 and "stopped" in response.json()["status"]


def test_a_preview_is_what_the_detector_sees(client):
    exif = Image.Exif()
    exif[274] = 6
    response = post(client, picture(kind="TIFF", exif=exif), path="/preview")
    assert response.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.size == (10, 20)
        assert np.abs(np.asarray(image) - np.array([204, 102, 0])).max() < 8
    assert refused(post(client, b"words", path="/preview"), 415)


def test_the_page_and_what_it_may_do(client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert policy.count("'sha256-") == 2  # its one style sheet and its one script
    page, _ = read_page()
    assert response.text == page
    assert not re.search(r"https?://|src=|@import|url\(|\sstyle=|\son\w+=", page)
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_schema_says_what_is_taken(client):
    schema = client.get("/openapi.json").json()
    detect = schema["paths"]["/detect"]["post"]
    assert {p["name"] for p in detect["parameters"]} == {"score_threshold", "image_id", "form"}
    assert set(detect["requestBody"]["content"]) == {
        "image/*",
        "application/octet-stream",
        "multipart/form-data",
    }
    assert {"200", "400", "408", "413", "415", "422", "500", "503"} <= set(detect["responses"])
