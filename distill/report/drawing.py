"""Pictures as SVG text: shapes, scales, axes, and images as PNG data inside an SVG.

Colours come from the page's style sheet by class, so that a picture follows light and dark; only
images carry colours of their own.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

PALETTE = (
    "#4477aa",
    "#ee8866",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#bbbbbb",
    "#994455",
    "#eedd88",
    "#44bb99",
    "#77aadd",
    "#555555",
)
"""Colours for kinds without an order, told apart by most colour-blind readers (after P. Tol)."""
_LOW, _MIDDLE, _HIGH = (0x2C, 0x3E, 0x7A), (0x4D, 0xA8, 0x9F), (0xF6, 0xE7, 0x61)
_TEXT_WIDTH = 6.6


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with the words that stand for it where it cannot be seen."""

    title: str
    svg: str
    caption: str
    alternative: str


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def short(value: float) -> str:
    """A number for a label."""
    return f"{value:.4g}"


def tag(name: str, content: str = "", /, **attributes: Any) -> str:
    """An element; `class_` stands for class, `_` in names for `-`; None is left out."""
    parts = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        text = number(value) if isinstance(value, float) else str(value)
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    return f"<{' '.join(parts)}>{content}</{name}>" if content else f"<{' '.join(parts)}/>"


def text(x: float, y: float, words: object, class_: str = "label", **attributes: Any) -> str:
    return tag("text", escape(str(words)), x=float(x), y=float(y), class_=class_, **attributes)


def rectangle(x: float, y: float, width: float, height: float, **attributes: Any) -> str:
    title = attributes.pop("title", None)
    inner = f"<title>{escape(str(title))}</title>" if title is not None else ""
    return tag(
        "rect",
        inner,
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        **attributes,
    )


def circle(x: float, y: float, radius: float, **attributes: Any) -> str:
    title = attributes.pop("title", None)
    inner = f"<title>{escape(str(title))}</title>" if title is not None else ""
    return tag("circle", inner, cx=float(x), cy=float(y), r=float(radius), **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str = "axis") -> str:
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str = "curve") -> str:
    steps = " ".join(f"{'ML'[i > 0]}{number(x)} {number(y)}" for i, (x, y) in enumerate(points))
    return tag("path", d=steps, class_=class_)


def drawing(width: float, height: float, parts: Sequence[str], alternative: str) -> str:
    """The whole SVG; scales down with its column, never up beyond its own size."""
    title = f"<title>{escape(alternative)}</title>"
    return tag(
        "svg",
        title + "".join(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=float(width),
        role="img",
        aria_label=alternative,
    )


def width_of(words: object) -> float:
    return _TEXT_WIDTH * len(str(words))


def clipped(words: object, most: int) -> str:
    shown = str(words)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def scaled(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Numbers as colours from dark blue to yellow, (..., 3) bytes."""
    values = np.nan_to_num(np.asarray(values, np.float64))
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    share = np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)[..., None]
    ends = np.array([_LOW, _MIDDLE, _HIGH], np.float64)
    first = ends[0] + 2 * share * (ends[1] - ends[0])
    second = ends[1] + (2 * share - 1) * (ends[2] - ends[1])
    return np.asarray(np.where(share < 0.5, first, second).round(), np.uint8)


def coloured(kinds: np.ndarray, count: int) -> np.ndarray:
    """Numbers of kinds as colours; a scale takes the place of the palette where there are many."""
    if count > len(PALETTE):
        return scaled(kinds, 0, count - 1)
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in PALETTE], np.uint8)
    return np.asarray(table[kinds])


def colour_of(kind: int, count: int) -> str:
    red, green, blue = coloured(np.array([kind]), count)[0].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def png(pixels: np.ndarray) -> bytes:
    """An image (height, width, 3) of bytes as PNG; with few colours, by a palette."""
    height, width, _ = pixels.shape
    flat = pixels.reshape(-1, 3).astype(np.int64)
    codes = flat[:, 0] << 16 | flat[:, 1] << 8 | flat[:, 2]
    colours, places = np.unique(codes, return_inverse=True)
    chunks = b""
    if len(colours) <= 256:
        kind = 3
        table = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1).astype(np.uint8)
        chunks = _chunk(b"PLTE", table.tobytes())
        rows = places.reshape(height, width).astype(np.uint8)
    else:
        kind = 2
        rows = pixels.reshape(height, width * 3).astype(np.uint8)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + chunks
        + _chunk(b"IDAT", body)
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def image(pixels: np.ndarray, x: float, y: float, width: float, height: float) -> str:
    """Pixels (height, width, 3) as an image of a size, its cells kept sharp."""
    data = base64.b64encode(png(pixels)).decode()
    return tag(
        "image",
        href=f"data:image/png;base64,{data}",
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        preserveAspectRatio="none",
        class_="cells",
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within an interval."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(low / step - 1e-9)
    count = int((high - first * step) / step + 1e-9)
    return [(first + i) * step for i in range(count + 1)]


def legend(
    entries: Sequence[tuple[str, str]], x: float, y: float, width: float
) -> tuple[str, float]:
    """Coloured squares with words, in rows of a width; the text, and the height it takes."""
    parts, left, top = [], x, y
    for colour, words in entries:
        wide = 22 + width_of(words)
        if left + wide > x + width and left > x:
            left, top = x, top + 18
        parts.append(rectangle(left, top, 12, 12, fill=colour, class_="swatch"))
        parts.append(text(left + 17, top + 10, words))
        left += wide
    return "".join(parts), top + 18 - y


def bars(
    heights: Sequence[float], labels: Sequence[str], axis: str, alternative: str, mark: set[int]
) -> str:
    """A bar chart; the bars in `mark` stand out."""
    width, height, left, base = 560.0, 170.0, 40.0, 140.0
    top = max(max(heights, default=0.0), 1e-300)
    step = (width - left - 10) / max(len(heights), 1)
    parts = [line(left, base, width - 10, base)]
    every = max(1, math.ceil(30 / step))
    for i, (value, label) in enumerate(zip(heights, labels, strict=True)):
        tall = (base - 14) * value / top
        parts.append(
            rectangle(
                left + i * step + 0.1 * step,
                base - tall,
                0.8 * step,
                tall,
                class_="bar strong" if i in mark else "bar",
                title=f"{label}: {short(value)}",
            )
        )
        if i % every == 0 or i in mark:
            parts.append(text(left + (i + 0.5) * step, base + 14, label, "tick middle"))
    parts.append(text(left, base + 28, axis, "axis-name"))
    return drawing(width, height, parts, alternative)
