"""What can go wrong between us and a chain. The follower knows two verbs: wait, or stop.

    ChainError
    ├── Retry                 wait and ask again (or ask another node)
    │   ├── Unavailable       no, late, oversized or malformed answer
    │   │   └── NoState       the node no longer keeps the state of that block
    │   ├── RateLimited       the node asks us to slow down
    │   ├── RangeTooWide      fewer blocks per log query, please (`suggested`: how many, if it said)
    │   └── NodeBehind        the node does not have the block yet, or its answers disagree
    └── Halt                  a fact that must not be guessed: exit code 2
        ├── WrongChain        another chain id or genesis than the one we index
        ├── NotOurContract    there is no LedgerManager at LEDGER_ADDRESS
        ├── FinalityViolated  a block we took as final is no longer part of the chain
        ├── BadLog            a log of our contracts that does not decode
        └── Drift             our sums contradict what a contract logged

An error outside this tree is a bug and stops the follower too. A view that reverts is an answer,
not an error (`chain.models.RawCall`).
"""

from __future__ import annotations


class ChainError(Exception):
    """Base of everything in this module; the message is one sentence for an operator, with words
    of the node perhaps, in which PostgreSQL takes no NUL."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message.replace("\0", "\ufffd"))


class Retry(ChainError):
    """Nothing is known to be wrong with the facts: wait and ask again."""


class Unavailable(Retry):
    """The node did not answer, answered too late, too much, or not in JSON-RPC."""


class NoState(Unavailable):
    """The node has pruned the state of the block a view was asked at."""


class RateLimited(Retry):
    """The node asks us to slow down; `retry_after` in seconds, where it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RangeTooWide(Retry):
    """A log query spans more blocks or results than the node serves."""

    def __init__(self, message: str, suggested: int | None = None) -> None:
        super().__init__(message)
        self.suggested = suggested


class NodeBehind(Retry):
    """The node has not seen (or no longer has) a block it should have."""


class Halt(ChainError):
    """Going on would mean guessing about somebody's money."""


class WrongChain(Halt):
    """The node serves another chain than the one we index."""


class NotOurContract(Halt):
    """What stands at the configured address is not the contract we index."""


class FinalityViolated(Halt):
    """A block that was final is gone."""


class BadLog(Halt):
    """A log of our contracts does not decode."""


class Drift(Halt):
    """What we folded contradicts what a contract said."""
