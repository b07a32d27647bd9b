"""PNG, written and read with the standard library alone. Pure.

Reading trusts nothing: sizes are checked before anything is unpacked, and unpacking stops at the
size that the header promised (a "zip bomb" ends there).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE = 1024
# Samples per pixel by colour type; only eight bits per sample are read.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3


class BadPng(ValueError):
    """Not a PNG that can be read here; the text says why."""


@dataclass(frozen=True)
class Picture:
    """`rgb` has three bytes per pixel, row by row; `alpha` one, or is None for "all opaque"."""

    width: int
    height: int
    rgb: bytes
    alpha: bytes | None = None


def encode(picture: Picture, words: Mapping[str, str]) -> bytes:
    """An RGB file with `words` as its textual metadata (iTXt, UTF-8)."""
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    stride = 3 * picture.width
    rows = _up(picture.rgb, stride)
    lines = b"".join(
        b"\x02" + rows[at : at + stride] for at in range(0, stride * picture.height, stride)
    )
    texts = [
        _chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + value.encode())
        for key, value in words.items()
    ]
    data = zlib.compress(lines, 6)
    chunks = [_chunk(b"IHDR", header), *texts, _chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunks)


def decode(data: bytes) -> Picture:
    """Read a PNG of up to 1024 x 1024 pixels. Raises BadPng."""
    chunks = _chunks(data)
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise BadPng(f"{width} x {height} pixels; at most {MAX_SIDE} x {MAX_SIDE} are read here")
    if depth != 8 or colour not in _CHANNELS or interlace:
        raise BadPng("only PNGs with 8 bits per sample and without interlacing are read here")
    pixel = _CHANNELS[colour]
    size = height * (1 + width * pixel)
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(chunks[b"IDAT"], size + 1)
    except zlib.error as error:
        raise BadPng("its pixels cannot be unpacked") from error
    if len(raw) != size:
        raise BadPng("its pixels are not as many as its header says")
    samples = _unfilter(raw, width * pixel, pixel)
    return _picture(width, height, colour, samples, chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks that matter, IDAT joined. Raises BadPng."""
    if not data.startswith(SIGNATURE):
        raise BadPng("it is no PNG")
    found: dict[bytes, list[bytes]] = {}
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        end = at + 8 + length
        if zlib.crc32(kind + body).to_bytes(4, "big") != data[end : end + 4]:
            raise BadPng("it is damaged")
        found.setdefault(kind, []).append(body)
        at = end + 4
        if kind == b"IEND":
            break
    if len(found.get(b"IHDR", ())) != 1 or len(found[b"IHDR"][0]) != 13 or b"IDAT" not in found:
        raise BadPng("it is incomplete")
    return {kind: b"".join(bodies) for kind, bodies in found.items()}


def _up(rgb: bytes, stride: int) -> bytes:
    """Every row minus the row above it, all bytes at once as one large number."""
    size = len(rgb)
    a = int.from_bytes(rgb, "big")
    b = a >> (8 * stride)
    high = int.from_bytes(b"\x80" * size, "big")
    low = high - (high >> 7)  # 0x7f in every byte
    # Borrows stop at the top bit of each byte, which is put right afterwards.
    return (((a | high) - (b & low)) ^ ((a ^ ~b) & high)).to_bytes(size, "big")


def _unfilter(raw: bytes, stride: int, pixel: int) -> bytes:
    """Undo the row filters (PNG 9.2). Raises BadPng."""
    rows: list[bytes] = []
    above = bytes(stride)
    for at in range(0, len(raw), stride + 1):
        row = raw[at + 1 : at + 1 + stride]
        kind = raw[at]
        if kind == 1:
            row = _sub(row, pixel)
        elif kind == 2:
            row = bytes((a + b) & 255 for a, b in zip(row, above, strict=True))
        elif kind == 3:
            row = _average(row, above, pixel)
        elif kind == 4:
            row = _paeth(row, above, pixel)
        elif kind:
            raise BadPng("it uses an unknown filter")
        rows.append(row)
        above = row
    return b"".join(rows)


def _sub(row: bytes, pixel: int) -> bytes:
    done = bytearray(len(row))
    for channel in range(pixel):
        done[channel::pixel] = bytes(x & 255 for x in accumulate(row[channel::pixel]))
    return bytes(done)


def _average(row: bytes, above: bytes, pixel: int) -> bytes:
    done = bytearray(pixel) + bytearray(len(row))
    for i, value in enumerate(row):
        done[i + pixel] = (value + ((done[i] + above[i]) >> 1)) & 255
    return bytes(done[pixel:])


def _paeth(row: bytes, above: bytes, pixel: int) -> bytes:
    done = bytearray(pixel) + bytearray(len(row))
    before = bytes(pixel) + above
    for i, value in enumerate(row):
        left, up, corner = done[i], above[i], before[i]
        to_left, to_up = abs(up - corner), abs(left - corner)
        to_corner = abs(left + up - 2 * corner)
        if to_left <= to_up and to_left <= to_corner:
            nearest = left
        else:
            nearest = up if to_up <= to_corner else corner
        done[i + pixel] = (value + nearest) & 255
    return bytes(done[pixel:])


def _picture(
    width: int, height: int, colour: int, samples: bytes, chunks: Mapping[bytes, bytes]
) -> Picture:
    """Any colour type as RGB and alpha."""
    pixel = _CHANNELS[colour]
    planes = [samples[channel::pixel] for channel in range(pixel)]
    if colour == _PALETTE:
        palette, clear = chunks.get(b"PLTE", b""), chunks.get(b"tRNS", b"")
        if max(samples) >= len(palette) // 3:
            raise BadPng("it uses colours that its palette lacks")
        tables = [palette[channel::3].ljust(256, b"\0")[:256] for channel in range(3)]
        alpha = samples.translate(clear.ljust(256, b"\xff")[:256]) if clear else None
        return Picture(width, height, _woven([samples.translate(t) for t in tables]), alpha)
    if pixel in (1, 2):
        return Picture(width, height, _woven([planes[0]] * 3), planes[1] if pixel == 2 else None)
    return Picture(width, height, _woven(planes[:3]), planes[3] if pixel == 4 else None)


def _woven(planes: list[bytes]) -> bytes:
    rgb = bytearray(3 * len(planes[0]))
    for channel in range(3):
        rgb[channel::3] = planes[channel]
    return bytes(rgb)
