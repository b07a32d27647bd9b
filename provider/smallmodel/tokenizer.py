"""Byte-pair encoding over bytes, learnt from a text; its file is one that Hugging Face reads."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from functools import lru_cache
from typing import Any

SPECIAL = ("<|end|>", "<|user|>", "<|assistant|>")
END, USER, ASSISTANT = range(3)
PATTERN = r" ?[^\s]{1,40}|\s"
_WORDS = re.compile(PATTERN)


def _alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(rest)}


_SHOWN = _alphabet()
_BYTES = {shown: byte for byte, shown in _SHOWN.items()}


class Tokenizer:
    """Text to numbers and back. Special tokens come first, then bytes, then merges."""

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self.merges = merges
        words = [*SPECIAL, *_SHOWN.values(), *(a + b for a, b in merges)]
        self.vocabulary = {word: number for number, word in enumerate(words)}
        self._words = words
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        self._encode_word = lru_cache(maxsize=1 << 16)(self._merge)

    @property
    def size(self) -> int:
        return len(self._words)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text; special tokens in it are text like any other."""
        return [token for word in _WORDS.findall(text) for token in self._encode_word(word)]

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, without special ones; broken characters become U+FFFD."""
        return self.raw(tokens).decode("utf-8", "replace")

    def raw(self, tokens: list[int]) -> bytes:
        """The bytes of tokens, without special ones."""
        shown = "".join(self._words[t] for t in tokens if t >= len(SPECIAL))
        return bytes(_BYTES[char] for char in shown)

    def _merge(self, word: str) -> tuple[int, ...]:
        parts = [_SHOWN[byte] for byte in word.encode("utf-8", "replace")]
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            best = min(pairs, key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            parts = _joined(parts, best)
        return tuple(self.vocabulary[part] for part in parts)

    # ---- its file --------------------------------------------------------------------------

    def dumps(self) -> str:
        """`tokenizer.json` as Hugging Face's library writes it."""
        split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated"}
        as_bytes = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
        document = {
            "version": "1.0",
            "added_tokens": [
                {"id": number, "content": text, "special": True, "normalized": False}
                | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
                for number, text in enumerate(SPECIAL)
            ],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{**split, "invert": False}, {**as_bytes, "trim_offsets": True}],
            },
            "post_processor": None,
            "decoder": {**as_bytes, "trim_offsets": True},
            "model": {
                "type": "BPE",
                "unk_token": None,
                "vocab": self.vocabulary,
                "merges": [f"{a} {b}" for a, b in self.merges],
            },
        }
        return json.dumps(document, ensure_ascii=False, indent=0)

    @classmethod
    def loads(cls, text: str) -> Tokenizer:
        """Read a file that `dumps` wrote."""
        document: dict[str, Any] = json.loads(text)
        pairs = (merge.split(" ") for merge in document["model"]["merges"])
        return cls([(first, second) for first, second in pairs])


def learn(text: str, merges: int) -> Tokenizer:
    """The tokenizer whose merges shorten `text` most, greedily."""
    words = Counter(_WORDS.findall(text))
    split = {word: [_SHOWN[byte] for byte in word.encode()] for word in words}
    found: list[tuple[str, str]] = []
    while len(found) < merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            parts = split[word]
            for pair in itertools.pairwise(parts):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append(best)
        for word, parts in split.items():
            if best[0] in parts:
                split[word] = _joined(parts, best)
    return Tokenizer(found)


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(parts):
        if at + 1 < len(parts) and (parts[at], parts[at + 1]) == pair:
            found.append(parts[at] + parts[at + 1])
            at += 2
        else:
            found.append(parts[at])
            at += 1
    return found
