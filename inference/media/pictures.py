"""What is asked of a service that draws, and what it answers (provider-protocol.md 1.1, 1.3, 1.5).
Pure.

An answer is a stranger's: every picture is bounded and must be one of three types by its own bytes,
whatever the provider calls it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from inference.abilities import Abilities
from inference.errors import BadPrompt
from inference.media.masks import Mask
from inference.media.sieve import Sieve
from inference.options import ticked, whole
from net.errors import TooLarge
from net.marks import N_
from protocol import fees

GENERATIONS, EDITS = "/images/generations", "/images/edits"
#: The type of services that change pictures.
_EDITING = fees.IMAGES[1]
#: What may be left to the provider, by the names of the protocol.
OPTIONS = ("size", "seed", "num_inference_steps", "output_format")
_PICTURE_WORDS = frozenset({*OPTIONS, "prompt", "quality"} - {"seed"})
MOST = 4
MAX_PROMPT_CHARS = 4000
SIZES = ("", "512x512", "768x768", "1024x1024", "1024x576", "576x1024")
FORMATS = ("", "png", "jpeg", "webp")
#: Of one whole answer, and of one picture in it; bytes.
MAX_ANSWER_BYTES = 48 << 20
MAX_PICTURE_BYTES = 16 << 20
MAX_STEPS = 150
_MOST_SEED = 2**53 - 1
_JOB = re.compile(r"[A-Za-z0-9._-]{1,64}")


class NoPictures(ValueError):
    """The answer does not hold pictures; the text says what it holds instead."""


@dataclass(frozen=True)
class Takes:
    """What a service takes beside words; `edits`: pictures to change."""

    options: frozenset[str] = frozenset(OPTIONS)
    edits: bool = True

    @classmethod
    def of(cls, service_type: str, said: Abilities) -> Self:
        """By the provider's own list of models. Where that says nothing, every option may be tried,
        but only a service that is listed for it gets pictures.
        """
        listed = frozenset(said.parameters or ())
        # Some list what chat models take, for every model.
        options = listed & frozenset(OPTIONS) if listed & _PICTURE_WORDS else frozenset(OPTIONS)
        edits = said.pictures if said.inputs else service_type == _EDITING
        return cls(options, edits)


#: For a service that was not asked.
ANYTHING = Takes()


@dataclass(frozen=True)
class Wish:
    """What is wanted; `size`, `seed`, `steps` and `output` "" or None are left to the provider."""

    prompt: str
    count: int = 1
    size: str = ""
    seed: int | None = None
    steps: int | None = None
    output: str = ""
    verified: bool = False
    mask: Mask = field(default_factory=Mask)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """A checked wish of a form's or a stored one's fields. Raises BadPrompt with the rule."""
        prompt = str(given.get("prompt") or "").strip().replace("\x00", "\ufffd")
        if not prompt:
            raise BadPrompt(N_("Say what the picture should show."))
        if len(prompt) > MAX_PROMPT_CHARS:
            raise BadPrompt(
                N_("A description may have up to %(max_prompt_chars)s characters."),
                max_prompt_chars=f"{MAX_PROMPT_CHARS:,}",
            )
        size, output = str(given.get("size") or ""), str(given.get("output") or "")
        if size not in SIZES or output not in FORMATS:
            raise BadPrompt(N_("Choose a size and a format from the lists."))
        return cls(
            prompt=prompt,
            count=whole(given.get("count"), N_("The number of pictures"), 1, MOST) or 1,
            size=size,
            seed=whole(given.get("seed"), N_("The seed"), 0, _MOST_SEED),
            steps=whole(given.get("steps"), N_("Steps"), 1, MAX_STEPS),
            output=output,
            verified=ticked(given.get("verified")),
            mask=Mask.of(given.get("mask")),
        )

    def stored(self) -> dict[str, Any]:
        return {**asdict(self), "mask": self.mask.stored()}

    @property
    def options(self) -> dict[str, Any]:
        """What was chosen of OPTIONS, by the names of the protocol."""
        return {
            **({"size": self.size} if self.size else {}),
            **({"seed": self.seed} if self.seed is not None else {}),
            **({"num_inference_steps": self.steps} if self.steps is not None else {}),
            **({"output_format": self.output} if self.output else {}),
        }

    def wire(self, model: str, takes: Takes = ANYTHING) -> dict[str, Any]:
        """The fields of the request. Pictures are asked for as bytes: an address of the provider's
        would be one more thing to distrust.
        """
        return {
            "model": model,
            "prompt": self.prompt,
            "n": self.count,
            **{name: x for name, x in self.options.items() if name in takes.options},
            "response_format": "b64_json",
        }


@dataclass(frozen=True)
class Sent:
    """One entry of an answer: a picture's bytes, or the address of one; `seed` as the provider
    says.
    """

    data: bytes = b""
    url: str = ""
    seed: str = ""


@dataclass(frozen=True)
class Remote:
    """A job at the provider: `state` is pending, processing, completed or failed."""

    id: str
    state: str
    error: str = ""
    data: Any = None


def sent(document: object, sifted: Sieve) -> tuple[Sent, ...]:
    """The entries of `data[]` of an answer, at most MOST, each taken out of the sieve that the
    document came from. Raises NoPictures."""
    rows = document.get("data") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise NoPictures("the answer holds no pictures")
    if len(rows) > MOST:
        raise NoPictures(f"the answer holds {len(rows):,} pictures")
    return tuple(_entry(row, sifted) for row in rows)


def _entry(row: object, sifted: Sieve) -> Sent:
    row = row if isinstance(row, dict) else {}
    text, url, seed = row.get("b64_json"), row.get("url"), row.get("seed")
    kept = str(seed) if type(seed) is int and 0 <= seed < 10**18 else ""
    if isinstance(text, str) and text:
        try:
            data = sifted.picture(text)
            if data is None:  # a small one
                data = base64.b64decode(text, validate=True)
            return Sent(data, seed=kept)
        except TooLarge:
            raise NoPictures(f"a picture of more than {MAX_PICTURE_BYTES >> 20} MB") from None
        except ValueError:
            raise NoPictures("a picture that is no base64") from None
    if isinstance(url, str) and 0 < len(url) <= 2000:
        return Sent(url=url, seed=kept)
    raise NoPictures("an entry without a picture")


def own_address(service_url: str, url: str) -> bool:
    """Whether a picture's address is the provider's own place for pictures (1.1). No other is
    ever asked: whoever chooses the address would choose what this server connects to.
    """
    place = service_url.rstrip("/") + "/v1/proxy/images/"
    rest = url.removeprefix(place)
    return rest != url and re.fullmatch(r"[A-Za-z0-9_-]{1,128}/[0-9]{1,3}", rest) is not None


def remote(document: object) -> Remote:
    """What a provider says of a job, on taking it and when asked. Raises NoPictures."""
    document = document if isinstance(document, dict) else {}
    id_, state, why = (document.get(name) for name in ("jobId", "status", "errorMessage"))
    if not isinstance(id_, str) or not _JOB.fullmatch(id_):
        raise NoPictures("a job without a usable id")
    if state not in ("pending", "processing", "completed", "failed"):
        raise NoPictures("a job in no known state")
    words = why.replace("\x00", "\ufffd")[:500] if isinstance(why, str) else ""
    return Remote(id_, state, words, document.get("data"))
