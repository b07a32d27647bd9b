"""What can go wrong between us and a fine-tuning provider, and between us and 0G storage.

BrokerError
├── BrokerSilent   no usable answer came
└── BrokerRefused  it answered with an error of its own; `status` and its words
StorageError
├── StorageSilent   no usable answer came, or not yet; trying again may help
└── StorageRefused  it does not take what was sent
"""

from __future__ import annotations


class BrokerError(Exception):
    """Base of everything raised here; the text is for a person."""


class BrokerSilent(BrokerError):
    """No answer, a broken one, or none in time."""


class BrokerRefused(BrokerError):
    """The provider said no, in its own words (at most 300 characters, printable)."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class StorageError(Exception):
    """Base of what 0G storage raises; the text is for a person."""


class StorageSilent(StorageError):
    """No answer, a broken one, or none in time."""


class StorageRefused(StorageError):
    """Storage said no, in its own words (printable)."""
