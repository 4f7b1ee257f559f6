"""The published loss and IoU as a user of JAX or PyTorch would write them, for `benchmarks.gpu`.

One text for both: what the two libraries call alike is taken from ``xp`` (`jax.numpy` or `torch`),
what they call differently from a `Library`. The formulas are those of `yolov1.ops.reference`, with
the paper's semantics and masks over all cells, computed in float32 where tensors have 16 bits.
"""

import dataclasses
import functools
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Library:
    """What the formulas need: the module of functions, a constant of a tensor, float32."""

    xp: object
    constant: Callable  # a tensor without its gradient
    widen: Callable  # to float32, where it has 16 bits


def jax_library() -> Library:
    import jax
    import jax.numpy as jnp

    def widen(x):
        return x.astype(jnp.float32) if x.dtype.itemsize == 2 else x

    return Library(jnp, jax.lax.stop_gradient, widen)


def torch_library() -> Library:
    import torch

    def widen(x):
        return x.float() if x.element_size() == 2 else x

    return Library(torch, lambda x: x.detach(), widen)


def yolo_loss(library, predictions, targets, grid):
    """Loss ``[N]`` of the paper, differentiable in the predictions ``[N, S, S, D]``."""
    xp, images = library.xp, predictions.shape[0]
    cells = library.widen(predictions).reshape(images, grid.cells, grid.channels)
    truth = library.widen(targets).reshape(images, grid.cells, grid.target_channels)
    classes, confidences = cells[..., : grid.C], cells[..., grid.C : grid.C + grid.B]
    boxes = cells[..., grid.C + grid.B :].reshape(images, grid.cells, grid.B, 4)
    has_object = (truth[..., grid.C] != 0)[..., None]  # [N, L, 1]
    target = xp.where(has_object, truth[..., grid.C + 1 :], 0.0)[..., None, :]  # [N, L, 1, 4]

    overlap = _overlap(xp, library.constant(boxes), target, grid)  # [N, L, B]
    first = xp.argmax(overlap, -1)[..., None]
    index = xp.cumsum(xp.ones_like(overlap), -1) - 1
    responsible = has_object & (index == first)

    chosen = responsible[..., None]
    box, wanted = xp.where(chosen, boxes, 0.0), xp.where(chosen, target, 0.0)
    xy = (box[..., :2] - wanted[..., :2]) ** 2
    wh = (box[..., 2:] - xp.sqrt(wanted[..., 2:])) ** 2
    confidence = xp.where(responsible, confidences - overlap, 0.0) ** 2
    background = xp.where(responsible, 0.0, confidences) ** 2
    wrong_class = xp.where(has_object, classes - truth[..., : grid.C], 0.0) ** 2
    return (
        5 * (xy.sum((1, 2, 3)) + wh.sum((1, 2, 3)))
        + confidence.sum((1, 2))
        + 0.5 * background.sum((1, 2))
        + wrong_class.sum((1, 2))
    )


def _overlap(xp, boxes, target, grid):
    x, y = boxes[..., 0] / grid.S, boxes[..., 1] / grid.S
    w, h = boxes[..., 2] ** 2, boxes[..., 3] ** 2
    tx, ty = target[..., 0] / grid.S, target[..., 1] / grid.S
    tw, th = target[..., 2], target[..., 3]
    zero = xp.zeros_like(x)
    width = xp.minimum(x + w / 2, tx + tw / 2) - xp.maximum(x - w / 2, tx - tw / 2)
    height = xp.minimum(y + h / 2, ty + th / 2) - xp.maximum(y - h / 2, ty - th / 2)
    shared = xp.maximum(width, zero) * xp.maximum(height, zero)
    overlap = shared / (w * h + tw * th - shared)
    return xp.where(xp.isnan(overlap), zero, overlap)


def pairwise_iou(library, boxes_a, boxes_b):
    """``[..., M, K]`` of corner boxes; a tie of two edges gives half its gradient to each."""
    xp, dtype = library.xp, boxes_a.dtype
    a, b = library.widen(boxes_a)[..., :, None, :], library.widen(boxes_b)[..., None, :, :]

    def above_0(x):
        return xp.maximum(x, xp.zeros_like(x))

    low, high = xp.maximum(a[..., :2], b[..., :2]), xp.minimum(a[..., 2:], b[..., 2:])
    sides = above_0(high - low)
    size_a, size_b = above_0(a[..., 2:] - a[..., :2]), above_0(b[..., 2:] - b[..., :2])
    shared = sides[..., 0] * sides[..., 1]
    union = size_a[..., 0] * size_a[..., 1] + size_b[..., 0] * size_b[..., 1] - shared
    empty = union == 0
    iou = xp.where(empty, xp.zeros_like(union), shared / xp.where(empty, 1.0, union))
    return iou.astype(dtype) if hasattr(iou, "astype") else iou.to(dtype)


# ------------------------------------------------------------------- with gradients, as one call


def jax_loss(grid):
    """(predictions, targets) to loss ``[N]`` and the gradient of its sum."""
    import jax

    library = jax_library()

    def run(predictions, targets):
        loss, pull = jax.vjp(lambda p: yolo_loss(library, p, targets, grid), predictions)
        return loss, pull(library.xp.ones_like(loss))[0]

    return run


def jax_iou():
    """forward(a, b), backward(a, b, upstream) to both gradients."""
    import jax

    library = jax_library()

    def forward(a, b):
        return pairwise_iou(library, a, b)

    def backward(a, b, upstream):
        return jax.vjp(forward, a, b)[1](upstream)

    return forward, backward


def torch_loss(grid, compiled):
    """As `jax_loss`, on PyTorch tensors."""
    import torch

    if compiled:
        torch.compiler.reset()  # or it stops compiling after some shapes
    library = torch_library()

    def loss(predictions, targets):
        return yolo_loss(library, predictions, targets, grid)

    loss = torch.compile(loss, dynamic=False) if compiled else loss

    def run(predictions, targets):
        predictions = predictions.detach().requires_grad_()
        value = loss(predictions, targets)
        return value.detach(), torch.autograd.grad(value.sum(), predictions)[0]

    return run


def torch_iou(compiled):
    """As `jax_iou`, on PyTorch tensors."""
    import torch

    if compiled:
        torch.compiler.reset()  # or it stops compiling after some shapes
    library = torch_library()

    def value(a, b):
        return pairwise_iou(library, a, b)

    value = torch.compile(value, dynamic=False) if compiled else value

    def forward(a, b):
        with torch.no_grad():
            return value(a, b)

    def backward(a, b, upstream):
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        return torch.autograd.grad(value(a, b), (a, b), upstream)

    return forward, backward


def torch_nms(score_threshold=0.001, iou_threshold=0.5, max_detections=300):
    """Boxes ``[N, K, 4]`` and scores ``[N, K, C]`` to what `yolov1.ops.non_max_suppression` finds:
    PyTorch tensors, all classes and images together, one box of each after another."""
    import torch

    library = torch_library()

    def run(boxes, scores):
        images, count, classes = scores.shape
        over = pairwise_iou(library, boxes, boxes) > iou_threshold  # [N, K, K]
        by_class = scores.transpose(1, 2)  # [N, C, K]
        ranked, order = by_class.sort(dim=-1, descending=True, stable=True)
        image = torch.arange(images, device=boxes.device)[:, None, None]
        over = over[image[..., None], order[..., None], order[..., None, :]].triu(1)
        kept = ranked > score_threshold
        for k in range(count):
            kept = kept & ~(over[..., k, :] & kept[..., k, None])
        best = torch.where(kept, ranked, -torch.inf).flatten(1)
        best, place = best.topk(min(max_detections, classes * count), -1)
        found = best > -torch.inf
        box = order.flatten(1).gather(1, place)
        corners = boxes[image[..., 0], box].clamp(0, 1)
        zero = torch.zeros_like
        return (
            torch.where(found[..., None], corners, zero(corners)),
            torch.where(found, best, zero(best)),
            torch.where(found, place // count, zero(place)),
            found.sum(-1),
        )

    return run


def torch_resize(size):
    """uint8 ``[N, H, W, 3]`` to float32 ``[N, size, size, 3]`` in [0, 1]: of what
    `yolov1.ops.augment_images` does the bilinear resizing alone."""
    import torch

    def run(pixels):
        planes = pixels.permute(0, 3, 1, 2).float()
        options = dict(size=(size, size), mode="bilinear", align_corners=False)
        planes = torch.nn.functional.interpolate(planes, **options)
        return (planes / 255).permute(0, 2, 3, 1).contiguous()

    return run


def fused_jax_loss(grid, dtype):
    """The project's kernel as a JAX function like `jax_loss`'s.

    Raises:
        LookupError: the build has no handlers.
    """
    if not register_handlers():
        raise LookupError("the build has no handlers (YOLOV1_XLA=OFF, or no jaxlib beside it)")
    import jax
    import jax.numpy as jnp

    from yolov1 import kernels
    from yolov1.semantics import PRESETS

    config = kernels.yolo_loss_config(grid, PRESETS["paper"])
    sums = jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32

    def run(predictions, targets):
        results = (
            jax.ShapeDtypeStruct(predictions.shape[:1], sums),
            jax.ShapeDtypeStruct((predictions.shape[0], 5), sums),
            jax.ShapeDtypeStruct(predictions.shape, predictions.dtype),
            jax.ShapeDtypeStruct((0,), sums),
        )
        call = jax.ffi.ffi_call("Yolov1>YoloLoss", results)
        loss, _, gradient, _ = call(predictions, targets, config=config)
        return loss, gradient

    return run


@functools.cache  # JAX takes a name once
def register_handlers():
    """Makes the kernels known to JAX; False where the build has none."""
    import jax

    from yolov1 import kernels

    targets = kernels.ffi_targets()
    for name, platform, handler in targets:
        jax.ffi.register_ffi_target(name, handler, platform={"Host": "cpu"}.get(platform, platform))
    return bool(targets)
