"""Photo-like JPEG files with boxes, for benchmarks of the input."""

import numpy as np
from PIL import Image

WIDTH, HEIGHT, FILE_BYTES = 500, 375, 65_000


def make_photo(rng):
    """Noise with the falling spectrum of a photo (amplitude ~ 1 / frequency), uint8."""
    frequency = np.hypot(
        *np.meshgrid(np.fft.fftfreq(HEIGHT), np.fft.rfftfreq(WIDTH), indexing="ij")
    )
    spectrum = np.fft.rfft2(rng.normal(size=(3, HEIGHT, WIDTH))) / np.maximum(frequency, 0.005)
    planes = np.fft.irfft2(spectrum, s=(HEIGHT, WIDTH))
    planes[1:] = 0.8 * planes[:1] + 0.2 * planes[1:]  # the colours of a photo go together
    planes = 128 + 50 * (planes - planes.mean((1, 2), keepdims=True)) / planes.std()
    return np.clip(planes.transpose(1, 2, 0), 0, 255).astype(np.uint8)


def write_photos(folder, count):
    """Writes a VOC data set of `count` files, each at the quality that brings it near 65 KB.

    Returns:
        The bytes of each file.
    """
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    sizes = []
    for k in range(count):
        photo, file = Image.fromarray(make_photo(rng)), folder / "JPEGImages" / f"{k:04d}.jpg"
        low, high = 30, 97
        while high - low > 1:
            middle = (low + high) // 2
            photo.save(file, quality=middle)
            low, high = (middle, high) if file.stat().st_size < FILE_BYTES else (low, middle)
        photo.save(file, quality=low)
        sizes.append(file.stat().st_size)
        boxes = []
        for _ in range(rng.integers(1, 6)):
            x0, y0 = rng.integers(0, WIDTH - 100), rng.integers(0, HEIGHT - 100)
            x1, y1 = x0 + rng.integers(40, 100), y0 + rng.integers(40, 100)
            corners = zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True)
            corners = "".join(f"<{tag}>{v}</{tag}>" for tag, v in corners)
            boxes.append(f"<object><name>person</name><bndbox>{corners}</bndbox></object>")
        xml = f"<annotation>{''.join(boxes)}</annotation>"
        (folder / "Annotations" / f"{k:04d}.xml").write_text(xml)
    return sizes
