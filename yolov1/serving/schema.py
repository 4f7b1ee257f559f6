"""The forms of requests and answers: what ``/openapi.json`` says, and COCO's results."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from yolov1.inference import class_colour, class_names


class Problem(BaseModel):
    error: str = Field(description="What is wrong, and what to do.")


class Result(BaseModel):
    """One box, as a COCO list of results has it."""

    image_id: int
    category_id: int = Field(description="From 1, in the order of the classes.")
    bbox: list[float] = Field(description="x, y, width, height in pixels of the upright picture.")
    score: float


class Picture(BaseModel):
    id: int
    file_name: str | None = Field(description="As the form called it.")
    width: int = Field(description="Of the upright picture, in pixels.")
    height: int
    orientation: int = Field(description="EXIF's number for how the file's pixels were turned.")
    batch_size: int = Field(description="Pictures that were looked at together with this one.")


class Category(BaseModel):
    id: int
    name: str


class Answer(BaseModel):
    images: list[Picture]
    categories: list[Category]
    results: list[Result]
    seconds: float = Field(description="From the request's first byte to its answer.")


def parameters(least: float):
    """The query of ``/detect``, of a detector that knows no boxes with a lower score."""
    return create_model(
        "Parameters",
        __config__=ConfigDict(extra="forbid"),
        score_threshold=(
            float,
            Field(
                least,
                ge=least,
                le=1,
                allow_inf_nan=False,
                description="Boxes that do not score more are left out.",
            ),
        ),
        image_id=(
            list[int],
            Field([], description="Ids of the pictures in the answer; by default 1, 2 and so on."),
        ),
        form=(
            Literal["coco", "full"],
            Field("coco", description="full: beside the results, the pictures and categories."),
        ),
    )


def _problems(**sentences):
    return {
        int(status.removeprefix("of_")): {"model": Problem, "description": sentence}
        for status, sentence in sentences.items()
    }


_BYTES = {"schema": {"type": "string", "format": "binary"}}


def _body(**files):
    """What a request holds: a picture, or a form with files."""
    files = {"type": "array", "items": _BYTES["schema"], "minItems": 1} | files
    form = {"type": "object", "properties": {"file": files}, "required": ["file"]}
    content = {
        "image/*": _BYTES,
        "application/octet-stream": _BYTES,
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


_REFUSED = _problems(
    of_400="An empty body, or a form that cannot be read.",
    of_408="The body did not come in time.",
    of_413="The body has too many bytes, or a picture too many pixels.",
    of_415="No picture, or a content type that says so.",
    of_422="A damaged picture, or a parameter out of its range.",
    of_500="The detector failed on this picture.",
    of_503="The queue is full: try again after as many seconds as Retry-After says.",
)
DETECT = {
    "summary": "The boxes of one picture or several",
    "responses": {200: {"model": list[Result] | Answer}, **_REFUSED},
    "openapi_extra": _body(),
}
PREVIEW = {
    "summary": "A picture as the detector sees it, as a JPEG",
    "responses": {200: {"content": {"image/jpeg": _BYTES}}, **_REFUSED},
    "openapi_extra": _body(maxItems=1),
}
HEALTH = {
    "summary": "What is served, and whether it works",
    "responses": {503: {"description": "The detector has stopped."}},
}
METRICS = {
    "summary": "Figures for Prometheus",
    "responses": {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
}


def classes(detector) -> list[dict]:
    """Id, name and colour of each class; those without a name have their number."""
    return [
        {
            "id": label + 1,
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*class_colour(label)),
        }
        for label, name in enumerate(class_names(detector))
    ]


def results(image_id, detections, size, score_threshold) -> list[dict]:
    """Boxes in the COCO results form, by falling score; a thousandth of a pixel is enough."""
    height, width = size
    found = detections.above(score_threshold)
    corners = found.boxes_xyxy.astype(float) * (width, height, width, height)
    corners[:, 2:] -= corners[:, :2]
    return [
        {
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [round(value, 3) for value in box],
            "score": round(score, 6),
        }
        for box, score, label in zip(
            corners.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]
