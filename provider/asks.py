"""What is asked for, checked and made ready for the upstream (provider-protocol.md 1.1-1.3). Pure.

The bytes stay as they came unless something has to change.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from protocol import fees, media
from protocol.fees import DurationRule, Tariff, Usage
from provider.errors import Refused
from provider.forms import is_form, read_form
from provider.meter import BYTES_PER_TOKEN, read_prompt
from provider.strict import strict_object

CHAT_PATH = "/chat/completions"
GENERATIONS_PATH, EDITS_PATH = "/images/generations", "/images/edits"
TRANSCRIPTIONS_PATH = "/audio/transcriptions"
EMBEDDINGS_PATH = "/embeddings"
MAX_PICTURES = 10
#: As OpenAI's API has it.
MAX_INPUTS = 2048
WAV_HEADER_BYTES = 44


@dataclass(frozen=True)
class Ask:
    """A checked request: `body` goes to `path` of the upstream, `request_hash` (SHA-256) is what
    the signature says of it, `estimate` is what it may cost in neuron."""

    path: str
    content_type: str
    body: bytes
    request_hash: bytes
    estimate: int


@dataclass(frozen=True)
class PictureAsk(Ask):
    """A request for `count` pictures, behind URLs of ours if `by_url`."""

    count: int
    by_url: bool


@dataclass(frozen=True)
class Terms:
    """What a service calls its model, and its prices; `upstream_model` "" means the same name."""

    model: str
    upstream_model: str
    tariff: Tariff
    speech_rule: DurationRule

    @property
    def sent_model(self) -> str:
        """The name that the upstream knows."""
        return self.upstream_model or self.model


def read_chat(raw: bytes, content_type: str, terms: Terms) -> Ask:
    """A chat completion. Raises Refused 400."""
    prompt = read_prompt(raw, terms.sent_model)
    estimate = fees.chat_fee(terms.tariff, prompt.expected)
    return Ask(CHAT_PATH, "application/json", prompt.body, _sha256(prompt.body), estimate)


def read_generation(raw: bytes, content_type: str, terms: Terms) -> PictureAsk:
    """Pictures from words. Raises Refused 400."""
    return _pictures_by_json(GENERATIONS_PATH, raw, terms)


def read_edit(raw: bytes, content_type: str, terms: Terms) -> PictureAsk:
    """Pictures from a picture, as a form or as JSON. Raises Refused 400."""
    if not is_form(content_type):
        return _pictures_by_json(EDITS_PATH, raw, terms)
    once = ("model", "prompt", "n", "response_format", "stream")
    form = read_form(raw, content_type, once=once)
    if form.file("image", "image[]") is None:
        raise Refused(400, "validate request: image must be a file")
    count = form.text("n")
    if count is not None and not (count.isascii() and count.isdigit() and len(count) < 4):
        raise _bad_count()
    settings = {name: form.text(name) for name in once}
    settings["stream"] = None if settings["stream"] in (None, "", "false") else "true"
    document = {**settings, "n": None if count is None else int(count)}
    wanted = _picture_changes(document, terms)
    signed = form.sha256({k: v for k, v in wanted.items() if k == "model"})
    body = form.replaced(wanted)
    return _picture_ask(EDITS_PATH, content_type, body, signed, document, terms)


def read_transcription(raw: bytes, content_type: str, terms: Terms) -> Ask:
    """Words from a recording. Raises Refused 400."""
    if not is_form(content_type):
        raise Refused(400, "validate request: a transcription must be multipart/form-data")
    form = read_form(raw, content_type, once=("model", "response_format", "stream", "language"))
    recording = form.file("file")
    if recording is None or recording.start == recording.end:
        raise Refused(400, "validate request: file must be a recording")
    changed = {} if form.text("model") == terms.sent_model else {"model": terms.sent_model}
    body = form.replaced(changed)
    seconds = _guessed_seconds(form.data(recording))
    estimate = fees.speech_duration_fee(terms.tariff, seconds, terms.speech_rule)
    return Ask(TRANSCRIPTIONS_PATH, content_type, body, _sha256(body), estimate)


def read_embeddings(raw: bytes, content_type: str, terms: Terms) -> Ask:
    """Vectors from texts, or from texts as numbers of tokens. Raises Refused 400."""
    document = strict_object(raw)
    given = document.get("input")
    texts: list[Any] = given if isinstance(given, list) and not _tokens(given) else [given]
    if not 0 < len(texts) <= MAX_INPUTS:
        raise Refused(400, f"validate request: input must be 1 to {MAX_INPUTS} texts")
    if not all(_tokens(text) or (isinstance(text, str) and text) for text in texts):
        raise Refused(400, "validate request: input must be a text or a list of texts")
    if document.get("encoding_format") not in (None, "float", "base64"):
        raise Refused(400, "validate request: encoding_format must be float or base64")
    body = raw
    if document.get("model") != terms.sent_model:
        body = orjson.dumps({**document, "model": terms.sent_model})
    tokens = sum(
        len(text) if isinstance(text, list) else len(text.encode()) // BYTES_PER_TOKEN + 1
        for text in texts
    )
    estimate = fees.chat_fee(terms.tariff, Usage(tokens, 0))
    return Ask(EMBEDDINGS_PATH, "application/json", body, _sha256(body), estimate)


def _tokens(text: object) -> bool:
    """Whether this is a text as numbers of tokens."""
    return isinstance(text, list) and bool(text) and all(type(x) is int for x in text)


def _pictures_by_json(path: str, raw: bytes, terms: Terms) -> PictureAsk:
    document = strict_object(raw)
    wanted = _picture_changes(document, terms)
    body = orjson.dumps({**document, **wanted}) if wanted else raw
    model_only = raw
    if "model" in wanted:
        model_only = orjson.dumps({**document, "model": wanted["model"]})
    signed = _sha256(model_only)
    return _picture_ask(path, "application/json", body, signed, document, terms)


def _picture_changes(document: dict[str, Any], terms: Terms) -> dict[str, str]:
    """Check a request for pictures; what the upstream has to be told instead.

    It always sends the pictures themselves: a URL of its own network would help nobody.
    """
    if not isinstance(document.get("prompt"), str) or not document["prompt"].strip():
        raise Refused(400, "validate request: prompt must be a text")
    count = document.get("n")
    if count is not None and (type(count) is not int or not 0 < count <= MAX_PICTURES):
        raise _bad_count()
    if document.get("response_format") not in (None, "url", "b64_json"):
        raise Refused(400, "validate request: response_format must be url or b64_json")
    if document.get("stream"):
        raise Refused(400, "validate request: streaming of images is not supported")
    changed = {}
    if document.get("model") != terms.sent_model:
        changed["model"] = terms.sent_model
    if document.get("response_format") != "b64_json":
        changed["response_format"] = "b64_json"
    return changed


def _picture_ask(
    path: str,
    content_type: str,
    body: bytes,
    signed: bytes,
    document: dict[str, Any],
    terms: Terms,
) -> PictureAsk:
    """`signed` is the hash of the request as it came but for the model's name: how pictures travel
    is no part of what was asked, and the reference broker sees it so too."""
    count = document.get("n") or 1
    estimate = fees.image_fee(terms.tariff.output_price, count)
    by_url = document.get("response_format") == "url"
    return PictureAsk(path, content_type, body, signed, estimate, count, by_url)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _bad_count() -> Refused:
    return Refused(400, f"validate request: n must be between 1 and {MAX_PICTURES}")


def _guessed_seconds(recording: memoryview) -> Decimal:
    """How long a recording may be, by a WAV's own header or by its size."""
    rate = media.SPEECH_BYTES_PER_SECOND
    header = bytes(recording[:WAV_HEADER_BYTES])
    if header[:4] == b"RIFF" and header[8:16] == b"WAVEfmt ":
        rate = int.from_bytes(header[28:32], "little") or rate
    seconds = Decimal(max(len(recording) - WAV_HEADER_BYTES, 1)) / rate
    return min(seconds, media.MAX_SPEECH_SECONDS)
