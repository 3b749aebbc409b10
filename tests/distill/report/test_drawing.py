"""Pictures: images that decode to their pixels, scales with round numbers, safe text."""

from __future__ import annotations

import struct
import zlib
from xml.etree import ElementTree

import numpy as np

from distill.report import drawing as d


def decoded(data: bytes) -> np.ndarray:
    """The pixels of a PNG of eight bits without interlacing and with filter 0 only."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    bytes_per = 1 if colour == 3 else 3
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8)
    rows = rows.reshape(height, 1 + width * bytes_per)
    assert (rows[:, 0] == 0).all()
    if colour == 3:
        return np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[rows[:, 1:]]
    return rows[:, 1:].reshape(height, width, 3)


def test_a_png_decodes_to_the_pixels_that_it_was_made_of() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 3), (3, 7, 3), (40, 40, 3)):
        pixels = rng.integers(0, 256, shape, np.uint8)
        assert (decoded(d.png(pixels)) == pixels).all()
    few = np.array([[[1, 2, 3], [250, 0, 9]]], np.uint8)
    assert (decoded(d.png(few)) == few).all()


def test_ticks_are_round_numbers_within_the_interval() -> None:
    assert d.ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
    assert d.ticks(-7, 7, 4) == [-5, 0, 5]
    assert d.ticks(3, 3) == [3]


def test_text_is_escaped_and_a_picture_has_words_in_its_place() -> None:
    svg = d.drawing(10, 10, [d.text(0, 0, '<b> & "c"')], 'a < b "quoted"')
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == 'a < b "quoted"'
    assert root.attrib["role"] == "img"
    assert [node.text for node in root.iter() if node.tag.endswith("text")] == ['<b> & "c"']


def test_colours_run_from_dark_to_bright_and_kinds_are_told_apart() -> None:
    low, high = d.scaled(np.array([0.0, 1.0])).astype(int).sum(axis=1)
    assert low < high
    assert len({d.colour_of(i, 12) for i in range(12)}) == 12
    assert len({d.colour_of(i, 40) for i in range(40)}) == 40
