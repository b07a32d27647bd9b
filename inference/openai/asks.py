"""What a program asks of `/v1`, read from its bytes. Pure.

The bytes go on as they came, except where that would cost the sender: a provider that has to add
`stream_options.include_usage` signs another request than was sent (provider-protocol.md 12), and a
name like `model@0x…` is ours, not the provider's.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

from inference.media import vectors
from inference.openai.errors import ApiError
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from protocol import fees
from protocol.addresses import is_address

CHAT = "chat/completions"
GENERATIONS = "images/generations"
EDITS = "images/edits"
TRANSCRIPTIONS = "audio/transcriptions"
#: Only newer brokers have it (provider-protocol.md 1.1).
EMBEDDINGS = "embeddings"
ENDPOINTS = (CHAT, GENERATIONS, EDITS, TRANSCRIPTIONS, EMBEDDINGS)
#: Types of services (provider-protocol.md 1.1) that answer each.
TYPES = {
    CHAT: (fees.CHAT,),
    GENERATIONS: fees.IMAGES,
    EDITS: fees.IMAGES,
    TRANSCRIPTIONS: (fees.SPEECH,),
    EMBEDDINGS: (fees.EMBEDDING,),
}
JSON_BYTES = 8 << 20
#: What providers take (provider-protocol.md 1.2).
FORM_BYTES = 32 << 20
#: Set where a token has a spend limit and the program bounds nothing, and assumed for estimates.
USUAL_MAX_TOKENS = 4096
MOST_CHOICES = 64

#: Names of the request itself; each is read once more where the model is named with its provider.
MOST_NAMES = 200
_SHAPE = JsonLimits(max_depth=64, max_bytes=JSON_BYTES)
_PINNED = re.compile(r"(.+)@(0x[0-9a-fA-F]{40})", re.DOTALL)
_MISTYPED = re.compile(r".+@0x[0-9a-zA-Z]*", re.DOTALL)
_MAX_MODEL_CHARS = 200
#: Of a form: fields and files, the headers of each, and the content of a field.
MAX_PARTS, MAX_HEAD_BYTES, MAX_FIELD_BYTES = 200, 4096, 100_000
# As clients write them, and no more: every other form of a name, twice, in parts, escaped or coded,
# is read differently by different servers.
_BOUNDARY = re.compile(
    r"""multipart/form-data\s*;\s*boundary=("?)([0-9A-Za-z'()+_,./:=?-]{1,200})\1\s*""", re.I
)
_HEADER = re.compile(rb"[A-Za-z-]+")
_NAMED = re.compile(
    rb'form-data; *name=("[^"\\;=?*]+"|[A-Za-z0-9_.-]+)'
    rb'((?:; *filename=(?:"(?:[^"\\]|\\.)*"|[^"\\;\s]+))?(?:; *filename\*=[^;"\s]+)?)',
    re.I,
)
#: The fields that this site reads.
_READ = ("model", "n", "stream", "response_format")
#: Names of a chat answer's length. Where both are given vLLM heeds the newer one and SGLang the
#: older; llama.cpp heeds a name of its own before them, of which others know nothing.
_LENGTHS, _LLAMAS = ("max_completion_tokens", "max_tokens"), "n_predict"
#: Of JSON, what a token may be held to.
_DECIDING = ("model", "n", *_LENGTHS, _LLAMAS)
#: Names of what a model looks at or listens to.
_SEEN = ("image_url", "video_url", "audio_url")
_QUOTED = tuple(f'"{name}"'.encode() for name in _DECIDING)


@dataclass(frozen=True)
class Ask:
    """A request for a model. `pin` is the provider's address ("" = whoever there is), `count` how
    many answers or pictures, `max_tokens` 0 where it says none.
    `beyond`: tokens that texts to embed may be beyond the bytes of the body; `drawn`: bytes of it
    that are pictures to look at, which nobody reads as text; `linked`: pictures, films and sounds
    that it only names.
    """

    endpoint: str
    content_type: str
    body: bytes
    model: str
    pin: str = ""
    stream: bool = False
    count: int = 1
    max_tokens: int = 0
    beyond: int = 0
    drawn: int = 0
    linked: int = 0

    @property
    def pictures(self) -> bool:
        return self.endpoint.startswith("images/")

    @property
    def writes(self) -> bool:
        """Whether the answer is text, which costs by its length."""
        return not self.pictures and self.endpoint != EMBEDDINGS


def most_bytes(endpoint: str) -> int:
    return FORM_BYTES if endpoint in (EDITS, TRANSCRIPTIONS) else JSON_BYTES


def read(
    endpoint: str, content_type: str, body: bytes, *, pin: str = "", bounded: bool = False
) -> Ask:
    """The request in `body`. `pin` is the `X-Provider` header; `bounded` sets `max_tokens` where a
    chat request has none. Raises ApiError 400.
    """
    if content_type.lower().startswith("multipart/form-data"):
        if endpoint not in (EDITS, TRANSCRIPTIONS):
            raise _bad("invalid_request", "This endpoint takes JSON.")
        return _form(endpoint, content_type, body, pin)
    if endpoint == TRANSCRIPTIONS:
        raise _bad("invalid_request", "A transcription is asked for with multipart/form-data.")
    return _json(endpoint, body, pin, bounded)


def _json(endpoint: str, body: bytes, pin: str, bounded: bool) -> Ask:
    try:
        document = strictjson.loads(body, _SHAPE)
    except BadAnswer as error:
        raise _bad("invalid_json", f"The body cannot be read: {error}.") from None
    if not isinstance(document, dict):
        raise _bad("invalid_json", "The body must be a JSON object.")
    if len(document) > MOST_NAMES:
        raise _bad("invalid_json", f"The body may have up to {MOST_NAMES} names.")
    _said_once(document, body)
    name, pin = named(document.get("model"), pin)
    changed: dict[str, Any] = {} if document["model"] == name else {"model": name}
    count = _whole(document, "n", most=MOST_CHOICES) or 1
    max_tokens = 0
    stream = document.get("stream") is True
    if endpoint == CHAT:
        max_tokens = max(_whole(document, name) for name in _LENGTHS)
        if bounded:
            if not max_tokens:
                max_tokens = changed["max_tokens"] = USUAL_MAX_TOKENS
            max_tokens = max(max_tokens, _whole(document, _LLAMAS))  # not -1, without an end
        wanted = document.get("stream_options")
        wanted = wanted if isinstance(wanted, dict) else {}
        if stream and wanted.get("include_usage") is not True:
            changed["stream_options"] = {**wanted, "include_usage": True}
    elif stream:
        raise _bad("invalid_request", "Only chat is streamed.")
    drawn, linked = _seen(document.get("messages")) if endpoint == CHAT else (0, 0)
    return Ask(
        endpoint=endpoint,
        content_type="application/json",
        body=orjson.dumps({**strictjson.members(body), **changed}) if changed else body,
        model=name,
        pin=pin,
        stream=stream,
        count=count,
        max_tokens=max_tokens,
        beyond=vectors.beyond_bytes(document.get("input")) if endpoint == EMBEDDINGS else 0,
        drawn=drawn,
        linked=linked,
    )


def _said_once(document: dict[str, Any], body: bytes) -> None:
    """Raises ApiError for a body that servers read in different ways: of a name that is there twice
    some take the first, and those in Go take it in capitals, too. A `model` that the provider alone
    sees would pass by what a token may ask for, a `max_tokens` by what it may spend. So would one
    that is there once, in other letters.
    """
    names = {name.casefold() for name in document}
    for name in _DECIDING:
        if name in names and name not in document:
            raise _bad("invalid_json", f"The body names `{name}` in other letters.")
    told = b"\\u" not in body and all(body.count(name) < 2 for name in _QUOTED)
    if len(names) == len(document) and told:
        return  # nearly every body: reading it once more takes longer than all else
    pairs = json.loads(body, object_pairs_hook=list, parse_int=str)
    if len({name.casefold() for name, _ in pairs}) < len(pairs):
        raise _bad("invalid_json", "A name of the body appears twice, maybe in other letters.")


def _seen(messages: object) -> tuple[int, int]:
    """Bytes of the pictures that travel inside `messages`, and how many pictures, films and sounds
    they name by an address, in every form that vLLM takes.
    """
    drawn = linked = 0
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            match part:
                case {"type": "image_url", "image_url": {"url": str(url)}} if url.startswith(
                    "data:image/"
                ):
                    drawn += len(url)
                case dict():
                    linked += sum(_is_linked(part.get(name)) for name in _SEEN)
    return drawn, linked


def _is_linked(value: object) -> bool:
    url = value.get("url") if isinstance(value, dict) else value
    return isinstance(url, str) and not url.startswith("data:")


def _form(endpoint: str, content_type: str, body: bytes, pin: str) -> Ask:
    fields = form_fields(content_type, body)
    if fields.get("stream", "false") not in ("", "false"):
        raise _bad("invalid_request", "Only chat is streamed.")
    given = fields.get("model", "")
    name, pin = named(given, pin)
    if given != name:
        part = b'name="model"\r\n\r\n%s\r\n'
        if body.count(part % given.encode()) != 1:
            raise _bad("invalid_request", "Name the provider in the X-Provider header instead.")
        body = body.replace(part % given.encode(), part % name.encode())
    count = fields.get("n", "") or "1"
    if not re.fullmatch("[1-9][0-9]?", count, re.ASCII) or int(count) > MOST_CHOICES:
        raise _bad("invalid_request", f"`n` must be a whole number from 1 to {MOST_CHOICES}.")
    return Ask(endpoint, content_type, body, name, pin, count=int(count))


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The text fields of a form; files are left out.

    What a provider makes of a form that can be read in two ways is not ours to guess: a `model`
    that it alone sees would pass by what a token may ask for. Such forms raise ApiError 400.
    """
    match = _BOUNDARY.fullmatch(content_type)
    if match is None:
        raise _bad("invalid_request", "The form has no boundary that can be used.")
    fields: dict[str, str] = {}
    named: set[str] = set()
    mark = b"--" + match[2].encode()
    if body.count(mark) > MAX_PARTS + 1:  # before each makes an object
        raise _bad("invalid_request", f"A form may have up to {MAX_PARTS} fields.")
    _, *parts, last = body.split(mark)
    if not last.startswith(b"--") or last[2:].strip():
        raise _bad("invalid_request", "The form does not end with its boundary.")
    for part in parts:
        name, file, data = _part(part)
        # Lists are sent as `name[]`, or as several files.
        if name in named and not (name.endswith("[]") or (file and name not in _READ)):
            raise _bad("invalid_request", f"The field `{name[:100]}` of the form appears twice.")
        named.add(name)
        if file:
            if name in _READ:
                raise _bad("invalid_request", f"The field `{name}` of the form is a file.")
            continue
        if len(data) > MAX_FIELD_BYTES:
            raise _bad(
                "invalid_request",
                f"The field `{name[:100]}` of the form is longer than {MAX_FIELD_BYTES} bytes.",
            )
        fields[name] = data.decode("utf-8", "replace")
    return fields


def _part(part: bytes) -> tuple[str, bool, bytes]:
    """(name, whether it is a file, content) of what stands between two boundaries."""
    head, found, data = part.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    whole = found and data.endswith(b"\r\n") and not lines[0].strip()
    if not whole or b"\n" in b"".join(lines) or len(head) > MAX_HEAD_BYTES:
        raise _bad("invalid_request", "A field of the form cannot be read.")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        key, colon, value = line.partition(b":")
        if not colon or not _HEADER.fullmatch(key) or key.lower() in headers:
            raise _bad("invalid_request", "A field of the form cannot be read.")
        headers[key.lower()] = value.strip()
    match = _NAMED.fullmatch(headers.get(b"content-disposition", b""))
    coded = headers.get(b"content-transfer-encoding", b"binary").lower()
    if match is None or coded not in (b"binary", b"7bit", b"8bit"):
        raise _bad("invalid_request", "A field of the form has no name that can be used.")
    return (
        match[1].strip(b'"').decode("utf-8", "replace"),
        bool(match[2]),
        data.removesuffix(b"\r\n"),
    )


def named(given: object, pin: str) -> tuple[str, str]:
    """(name, pin) of `model` or `model@0x…`. Raises ApiError 400."""
    if pin and not is_address(pin):
        raise _bad("invalid_provider", "X-Provider must be an address: 0x and 40 hex digits.")
    if not isinstance(given, str) or not given.strip() or "\x00" in given:
        raise _bad("model_missing", "Name a `model`; GET /v1/models lists them.")
    match = _PINNED.fullmatch(given)
    if not match and not pin and _MISTYPED.fullmatch(given):
        raise _bad("invalid_provider", "Behind the `@` of `model` belongs 0x and 40 hex digits.")
    name = match[1] if match else given
    if len(name) > _MAX_MODEL_CHARS:
        raise _bad("model_missing", f"A model's name has at most {_MAX_MODEL_CHARS} characters.")
    if match and pin and match[2].lower() != pin.lower():
        raise _bad("invalid_provider", "`model` and X-Provider name two providers.")
    return name, match[2] if match else pin


def _whole(document: dict[str, Any], name: str, most: int = 10_000_000) -> int:
    value = document.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 < value <= most:
        raise _bad("invalid_request", f"`{name}` must be a whole number from 1 to {most}.")
    return value


def _bad(code: str, message: str) -> ApiError:
    return ApiError(400, code, message)
