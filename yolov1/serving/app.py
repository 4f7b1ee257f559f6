"""The web application: its routes, and what is the same for every answer."""

import base64
import contextlib
import hashlib
import re
import time
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from yolov1 import __version__
from yolov1.serving import schema
from yolov1.serving.batching import Full
from yolov1.serving.metrics import CONTENT_TYPE
from yolov1.serving.service import Service
from yolov1.serving.uploads import Refused

PATHS = ("/", "/detect", "/preview", "/healthz", "/metrics", "/openapi.json")
PAGE = Path(__file__).with_name("page.html")
GONE = 499  # what nginx calls the request of a client that has left
RETRY_SECONDS = 1
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def create_app(service: Service, about=None) -> FastAPI:
    """The application that answers with what a detector finds.

    Args:
        service: the detector's; it is closed when the server ends.
        about: what ``/healthz`` says besides, such as the model's name and revision.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        service.close()

    app = FastAPI(
        title="yolov1",
        description="Boxes of pictures, in the COCO results form.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages are loaded from another host
        redoc_url=None,
    )
    app.add_middleware(_Around, metrics=service.metrics)
    for kind, handler in ERRORS.items():
        app.add_exception_handler(kind, handler)
    add_routes(app, service, about or {})
    return app


def add_routes(app, service, about):
    """What can be asked of the service."""
    options = service.detector.options
    classes = schema.classes(service.detector)
    categories = [{"id": one["id"], "name": one["name"]} for one in classes]
    Parameters = schema.parameters(float(options["score_threshold"]))
    page, policy = read_page()

    @app.post("/detect", **schema.DETECT)
    async def detect(request: Request, query: Annotated[Parameters, Query()]):
        begin = time.perf_counter()
        seen = await service.look(request)
        ids = query.image_id or range(1, len(seen) + 1)
        if len(ids) != len(seen):
            raise Refused(422, f"image_id is given {len(ids)} times for {len(seen)} pictures.")
        results = [
            result
            for number, one in zip(ids, seen, strict=True)
            for result in schema.results(number, one.detections, one.size, query.score_threshold)
        ]
        if query.form == "coco":
            return JSONResponse(results)
        images = [
            {
                "id": number,
                "file_name": one.name,
                "width": one.size[1],
                "height": one.size[0],
                "orientation": one.orientation,
                "batch_size": one.batch_size,
            }
            for number, one in zip(ids, seen, strict=True)
        ]
        answer = {"images": images, "categories": categories, "results": results}
        return JSONResponse(answer | {"seconds": round(time.perf_counter() - begin, 6)})

    @app.post("/preview", **schema.PREVIEW)
    async def preview(request: Request):
        return Response(await service.preview(request), media_type="image/jpeg")

    @app.get("/healthz", **schema.HEALTH)
    async def healthz():
        alive = service.batcher.alive()
        answer = {
            "status": "ok" if alive else "The detector has stopped; start the server again.",
            **about,
            "image_size": service.detector.grid.image_size,
            "classes": classes,
            "score_threshold": options["score_threshold"],
            "iou_threshold": options["iou_threshold"],
            "suppression": options["suppression"],
            "limits": {
                "body_bytes": service.limits.body_bytes,
                "pixels": service.limits.pixels,
                "queue": service.batcher.places,
                "batch_size": service.batcher.batch_size,
            },
        }
        return JSONResponse(answer, 200 if alive else 503)

    @app.get("/metrics", **schema.METRICS)
    async def metrics():
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def index():
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def read_page():
    """The page, and a policy under which nothing runs but what stands in it."""
    page = PAGE.read_text(encoding="utf-8")
    sources = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
            for part in re.findall(f"<{kind}>(.*?)</{kind}>", page, flags=re.DOTALL)
        )
        for kind in ("style", "script")
    }
    policy = (
        "default-src 'none'; img-src blob: data:; connect-src 'self'; "
        f"style-src {sources['style']}; script-src {sources['script']}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


class _Around:
    """Counts and times each request, and adds the headers that all answers have."""

    def __init__(self, app, metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # of the same answer, of which the server sends the head
            scope = scope | {"method": "GET"}
        begin, status = time.perf_counter(), 500

        async def sending(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        path = scope["path"] if scope["path"] in PATHS else "other"
        try:
            await self.app(scope, receive, sending)
        finally:
            self.metrics.request(path, status, time.perf_counter() - begin)


def _problem(status, sentence, headers=None):
    return JSONResponse({"error": sentence}, status, headers)


async def _refused(request, error):
    return _problem(error.status, error.sentence)


async def _full(request, error):
    return _problem(
        503,
        "So many pictures are waiting that there is no place for this one. Send it again after "
        f"{RETRY_SECONDS} s.",
        {"Retry-After": str(RETRY_SECONDS)},
    )


async def _client_gone(request, error):
    return Response(status_code=GONE)  # for the figures; nobody receives it


async def _invalid(request, error):
    sentences = [
        f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}, got {str(e.get('input'))[:80]!r}."
        for e in error.errors()
    ]
    return _problem(422, " ".join(sentences))


async def _http(request, error):
    sentence = {
        404: f"There is no {request.url.path}; there are {', '.join(PATHS)}.",
        405: f"{request.url.path} does not take {request.method}.",
    }.get(error.status_code, str(error.detail))
    return _problem(error.status_code, sentence, error.headers)


async def _failed(request, error):
    return _problem(500, "The server failed; its log says at what.")


ERRORS = {
    Refused: _refused,
    Full: _full,
    ClientDisconnect: _client_gone,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _failed,
}
