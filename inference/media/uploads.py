"""Pictures from people and providers: what they really are, how large they are, and nothing beside
their pixels.

A file's name and declared type are never believed. Sizes are read from the header before anything
is decoded, so that a small file cannot become a large picture in memory.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from PIL import Image, ImageDraw, ImageOps

from inference.errors import BadPrompt
from inference.media.masks import WHOLE, Mask, Rectangle

MAX_UPLOAD_BYTES = 10 << 20
#: Of a picture that is decoded here (uploads), and of one that is only shown (providers'); pixels.
MAX_PIXELS = 24_000_000
MAX_SHOWN_PIXELS = 40_000_000
#: What providers draw on; larger uploads are scaled down to it, smaller than LEAST_SIDE refused.
LONGEST_SIDE = 1024
LEAST_SIDE = 64
TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
RULE = N_("PNG, JPG or WEBP up to 10 MB")

#: Of pictures while they are worked on; what is kept is smaller.
WORKING_SIDE = 2048
#: A decoded picture takes up to 100 MB for a moment: so many at the same time in one process.
_AT_ONCE = threading.BoundedSemaphore(2)
_SIGNS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", N_("a ZIP archive")),
    (b"8BPS", N_("a Photoshop file")),
)

_DAMAGED = {"PNG": N_("a damaged PNG"), "JPEG": N_("a damaged JPEG"), "WEBP": N_("a damaged WEBP")}


class NoPicture(ValueError):
    """The bytes are not a picture that is shown here; the text says what they are."""


@dataclass(frozen=True)
class Picture:
    """A picture's exact bytes and what they are."""

    data: bytes
    media_type: str
    width: int
    height: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def kind(data: bytes) -> str:
    """What a file is by its first bytes: PNG, JPEG, WEBP, or the name of something else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return N_("HEIC or AVIF") if data[8:11] in (b"hei", b"mif", b"avi") else N_("a video")
    start = data.lstrip()[:100].lower()
    if start.startswith((b"<!doctype", b"<html", b"<svg", b"<?xml")):
        return "SVG" if b"<svg" in data[:1000].lower() else N_("a web page")
    return next((name for sign, name in _SIGNS if data.startswith(sign)), N_("no picture"))


def measured(data: bytes) -> Picture:
    """A provider's picture, byte for byte. Raises NoPicture; decodes nothing."""
    found = kind(data)
    if found not in TYPES:
        raise NoPicture(f"a file that is {found} instead of a picture")
    with _opened(data, found) as image:
        width, height = image.size
    if width * height > MAX_SHOWN_PIXELS:
        raise NoPicture(f"a picture of {width:,} x {height:,} pixels")
    return Picture(data, TYPES[found], width, height)


def cleaned(data: bytes, name: str) -> Picture:
    """A person's picture as a new PNG: turned upright, scaled to LONGEST_SIDE, and with nothing of
    the old file but its pixels (no place, no camera, no text). Raises BadPrompt, naming the file.
    """
    picture = upright(data, name)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    if min(picture.size) < LEAST_SIDE:
        name = name[-60:] or _("The file")
        raise BadPrompt(
            _("%(name)s is too narrow: each side needs %(least_side)s pixels or more.")
            % {"name": name, "least_side": LEAST_SIDE}
        )
    bare = Image.new("RGBA", picture.size)
    bare.paste(picture)
    return _as_png(bare)


def upright(data: bytes, name: str) -> Image.Image:
    """The pixels of an uploaded file, turned upright (RGBA), each side up to WORKING_SIDE.

    Raises BadPrompt, naming the file.
    """
    name = name[-60:] or _("The file")
    if len(data) > MAX_UPLOAD_BYTES:
        raise BadPrompt(
            _("%(name)s is larger than %(max_upload_bytes)s MB; use %(rule)s.")
            % {"name": name, "max_upload_bytes": MAX_UPLOAD_BYTES >> 20, "rule": _(RULE)}
        )
    found = kind(data)
    if found not in TYPES:
        raise BadPrompt(
            _("%(name)s is %(found)s; use %(rule)s.")
            % {"name": name, "found": _(found), "rule": _(RULE)}
        )
    try:
        with _AT_ONCE, _opened(data, found) as image:
            _check_size(image, name)
            return ImageOps.exif_transpose(_small(image)).convert("RGBA")
    except NoPicture as error:
        raise BadPrompt(
            _("%(name)s is %(error)s; use %(rule)s.")
            % {"name": name, "error": _(str(error)), "rule": _(RULE)}
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError):
        raise BadPrompt(
            _("%(name)s is damaged: its pixels cannot be read.") % {"name": name}
        ) from None


def _small(image: Image.Image) -> Image.Image:
    """The picture scaled before anything else is done with it: its full size exists only once."""
    if image.mode not in ("RGB", "RGBA", "L"):
        exif = image.getexif()
        image = image.convert("RGBA")
        image.getexif().update(exif)
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def drawn(mask: Mask, width: int, height: int) -> Picture:
    """A mask as providers read it: transparent where the picture is to be made anew."""
    image = Image.new("L", (width, height), 255)
    pencil = ImageDraw.Draw(image)
    for shape in mask.shapes:
        if isinstance(shape, Rectangle):
            left, top = shape.left * width // WHOLE, shape.top * height // WHOLE
            right = (shape.left + shape.width) * width // WHOLE
            bottom = (shape.top + shape.height) * height // WHOLE
            pencil.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=0)
            continue
        radius = max(1, shape.radius * width // WHOLE)
        dots = [(x * width // WHOLE, y * height // WHOLE) for x, y in shape.points]
        if len(dots) > 1:
            pencil.line(dots, fill=0, width=2 * radius, joint="curve")
        for x, y in (dots[0], dots[-1]):
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    filled = Image.new("RGBA", (width, height), (255, 255, 255, 255))
    filled.putalpha(image)
    return _as_png(filled)


def _opened(data: bytes, found: str) -> Image.Image:
    """The picture, its header read with the one reader for its type. Raises NoPicture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=(found,))
    except Image.DecompressionBombError:
        raise NoPicture(N_("a picture of far too many pixels")) from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise NoPicture(_DAMAGED[found]) from None


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        million = MAX_PIXELS // 10**6
        raise BadPrompt(
            _("%(name)s has %(width)s x %(height)s pixels; up to %(million)s million are read.")
            % {"name": name, "width": f"{width:,}", "height": f"{height:,}", "million": million}
        )
    if getattr(image, "n_frames", 1) > 1:
        raise BadPrompt(_("%(name)s is animated; use a still picture.") % {"name": name})


def _as_png(image: Image.Image) -> Picture:
    out = io.BytesIO()
    image.save(out, "PNG")
    return Picture(out.getvalue(), "image/png", *image.size)
