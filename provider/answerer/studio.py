"""Pictures and transcripts by programs, behind the API that real models have.

Both say what they are: pictures in their lower edge and in their metadata, transcripts by writing
"[sound]" where somebody speaks.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from dataclasses import dataclass

import orjson

from provider.answerer import hearing, paint, png, transcript, wav
from provider.answerer.png import BadPng, Picture
from provider.answerer.wav import BadRecording
from provider.errors import Refused
from provider.forms import Form, is_form, read_form
from provider.http import Answer, Request
from provider.strict import strict_object

PAINTER, LISTENER = "procedural-painter", "signal-listener"
MAX_BODY_BYTES = 32 * 1024 * 1024
TOO_LARGE = "the request is too large"
MAX_PICTURES = 10
MAX_PROMPT_CHARS = 4000
SIDES = range(64, png.MAX_SIDE + 1)
DEFAULT_SIZE = (512, 512)
SOFTWARE = "a program of this project: procedural, no AI model"
_SIZE = re.compile(r"([0-9]{2,4})x([0-9]{2,4})")
_SEED = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class _Wish:
    """A request for pictures, checked."""

    prompt: str
    count: int
    seed: int
    size: tuple[int, int] | None


class Studio:
    """Draws and listens, one thing at a time: both keep a processor busy."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)

    async def generation(self, request: Request, reply: Answer) -> None:
        """`POST /v1/images/generations`. Raises Refused."""
        document = strict_object(await request.body(MAX_BODY_BYTES, TOO_LARGE))
        wish = _wish({key: document.get(key) for key in _WISHES})
        async with self._turn:
            body = await asyncio.to_thread(_generated, wish)
        await reply.whole(200, body, "application/json")

    async def edit(self, request: Request, reply: Answer) -> None:
        """`POST /v1/images/edits`. Raises Refused."""
        form = await _form(request, once=_WISHES)
        wish = _wish({key: _number(key, form.text(key)) for key in _WISHES})
        async with self._turn:
            body = await asyncio.to_thread(_edited, wish, form)
        await reply.whole(200, body, "application/json")

    async def transcription(self, request: Request, reply: Answer) -> None:
        """`POST /v1/audio/transcriptions`. Raises Refused."""
        form = await _form(request, once=("model", "response_format", "stream"))
        kind = form.text("response_format") or "json"
        if kind not in transcript.FORMATS:
            raise Refused(400, f"response_format must be one of {', '.join(transcript.FORMATS)}")
        part = form.file("file")
        if part is None:
            raise Refused(400, "file is missing")
        async with self._turn:
            segments, seconds = await asyncio.to_thread(_heard, bytes(form.data(part)))
        if form.text("stream") == "true":
            await reply.start(200, {"content-type": "text/event-stream"})
            for event in transcript.events(segments, seconds):
                await reply.write(b"data: " + event + b"\n\n", more=True)
            await reply.write(b"", more=False)
            return
        words = form.text("timestamp_granularities[]") == "word"
        body = transcript.render(segments, seconds, kind, with_words=words)
        await reply.whole(200, body, transcript.FORMATS[kind])


_WISHES = ("model", "prompt", "n", "size", "seed", "response_format", "output_format")


async def _form(request: Request, *, once: tuple[str, ...]) -> Form:
    kind = request.headers.get("content-type", "")
    if not is_form(kind):
        raise Refused(400, "the request must be multipart/form-data")
    return read_form(await request.body(MAX_BODY_BYTES, TOO_LARGE), kind, once=once)


def _number(key: str, value: str | None) -> object:
    """A form's field as JSON would have it."""
    if key in ("n", "seed") and value is not None and _SEED.fullmatch(value):
        return int(value)
    return value


def _wish(given: dict[str, object]) -> _Wish:
    prompt, count, seed = given["prompt"], given["n"], given["seed"]
    if not isinstance(prompt, str) or not 0 < len(prompt) <= MAX_PROMPT_CHARS:
        raise Refused(400, f"prompt must be a text of up to {MAX_PROMPT_CHARS} characters")
    count = 1 if count is None else count
    if type(count) is not int or not 0 < count <= MAX_PICTURES:
        raise Refused(400, f"n must be between 1 and {MAX_PICTURES}")
    seed = secrets.randbelow(2**31) if seed is None else seed
    if type(seed) is not int or not 0 <= seed < 10**18:
        raise Refused(400, "seed must be a whole number from zero to 10^18")
    if given["response_format"] not in (None, "b64_json"):
        raise Refused(400, "response_format must be b64_json")
    if given["output_format"] not in (None, "png"):
        raise Refused(400, "output_format must be png")
    return _Wish(prompt, count, seed, _size(given["size"]))


def _size(given: object) -> tuple[int, int] | None:
    if given in (None, "auto"):
        return None
    match = _SIZE.fullmatch(given) if isinstance(given, str) else None
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if size[0] not in SIDES or size[1] not in SIDES:
        raise Refused(
            400, f"size must be WIDTHxHEIGHT, each from {SIDES.start} to {SIDES.stop - 1} pixels"
        )
    return size


def _generated(wish: _Wish) -> bytes:
    width, height = wish.size or DEFAULT_SIZE
    seeds = range(wish.seed, wish.seed + wish.count)
    return _answer(wish, [(paint.paint(wish.prompt, seed, width, height), seed) for seed in seeds])


def _edited(wish: _Wish, form: Form) -> bytes:
    """New pictures where the mask, or else the picture itself, is transparent; where neither has a
    transparent spot, everything is new."""
    old = _png(form, "image", "image[]")
    if old is None:
        raise Refused(400, "image is missing")
    mask = _png(form, "mask")
    if mask is not None and (mask.width, mask.height) != (old.width, old.height):
        raise Refused(400, "mask and image must have the same size")
    if wish.size not in (None, (old.width, old.height)):
        raise Refused(400, f"size must be the picture's own, {old.width}x{old.height}")
    if old.width not in SIDES or old.height not in SIDES:
        raise Refused(400, f"image must have at least {SIDES.start} pixels each way")
    holes = (mask or old).alpha
    made = []
    for seed in range(wish.seed, wish.seed + wish.count):
        new = paint.paint(wish.prompt, seed, old.width, old.height)
        made.append((_filled(old, new, holes) if holes else new, seed))
    return _answer(wish, made)


def _png(form: Form, *names: str) -> Picture | None:
    part = form.file(*names)
    if part is None:
        return None
    try:
        return png.decode(bytes(form.data(part)))
    except BadPng as error:
        raise Refused(400, f"{names[0]} cannot be used: {error}; send a PNG") from error


def _filled(old: Picture, new: Picture, holes: bytes) -> Picture:
    """`new` where `holes` is transparent (below half), `old` elsewhere: whole pictures as numbers,
    so that a million pixels are three operations."""
    open_ = holes.translate(bytes(255 if alpha < 128 else 0 for alpha in range(256)))
    wide = bytearray(3 * len(open_))
    for channel in range(3):
        wide[channel::3] = open_
    size = len(wide)
    mask = int.from_bytes(bytes(wide), "big")
    a, b = int.from_bytes(old.rgb, "big"), int.from_bytes(new.rgb, "big")
    return Picture(old.width, old.height, (a ^ ((a ^ b) & mask)).to_bytes(size, "big"))


def _answer(wish: _Wish, made: list[tuple[Picture, int]]) -> bytes:
    data = []
    for picture, seed in made:
        words = {"Software": SOFTWARE, "Description": wish.prompt, "Comment": f"seed {seed}"}
        file = png.encode(picture, words)
        data.append({"b64_json": base64.b64encode(file).decode(), "seed": seed})
    return orjson.dumps({"created": int(time.time()), "data": data, "output_format": "png"})


def _heard(data: bytes) -> tuple[list[hearing.Segment], float]:
    try:
        recording = wav.read(data)
    except BadRecording as error:
        raise Refused(400, f"file cannot be used: {error}") from error
    return hearing.listen(recording), recording.seconds
