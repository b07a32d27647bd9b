"""What can go wrong in the broker, by who has to do something about it."""

from __future__ import annotations


def plain(error: Exception) -> str:
    """An error of the network in one line: its kind, and what it says where it says something."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class ConfigError(Exception):
    """The operator's file cannot be used; the text names the key and the fix in one line.

    `key` is that setting's path in the file, "" where the trouble is not about one.
    """

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


class ChainError(Exception):
    """The node did not answer, or answered nonsense; trying again later may help."""


class Reverted(ChainError):
    """A contract refused; `name` is the Solidity error, "" where the node did not say."""

    def __init__(self, text: str, name: str = "") -> None:
        super().__init__(text)
        self.name = name


class TooDear(ChainError):
    """Gas costs `price` neuron now, more than the operator wants to pay."""

    def __init__(self, price: int, limit: int) -> None:
        super().__init__(f"gas costs {price} neuron, more than the limit of {limit}")
        self.price = price
        self.limit = limit


class Refused(Exception):
    """A request that gets a JSON error. From status 500 on the caller sees only the status phrase
    (provider-protocol.md 1); `text` then is for the log."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}
