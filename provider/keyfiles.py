"""Private keys at rest: encrypted key files (Web3 Secret Storage, version 3), and who else on this
machine could read a file."""

from __future__ import annotations

import getpass
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from provider.errors import ConfigError


def is_keystore(text: str) -> bool:
    """Whether `text` is a JSON document, as wallets and `geth account new` write keys."""
    return text.lstrip().startswith("{")


def open_keystore(text: str, password: str, *, ask: str) -> bytes:
    """The 32-byte key. Without a password the terminal is asked for the one of `ask`, where there
    is a terminal. Takes about a second: such files are slow to open on purpose.

    Raises ConfigError, which repeats neither key nor password.
    """
    from eth_account import Account  # only where it is needed: it is large

    if not password:
        if not sys.stdin.isatty():
            raise ConfigError(
                f"the key file is encrypted: give {ask}_password_file or {ask}_password_env, "
                "or start from a terminal"
            )
        password = getpass.getpass(f"Password of {ask}: ")
    try:
        return bytes(Account.decrypt(json.loads(text), password))
    except ValueError as error:
        said = "the password is wrong" if "MAC" in str(error) else "not a key file of version 3"
        raise ConfigError(said) from error
    except (KeyError, TypeError, NotImplementedError) as error:
        raise ConfigError("not a key file of version 3") from error


def kept(path: Path, make: Callable[[], str]) -> str:
    """The text of a file that is made once, readable by its owner only. Raises OSError."""
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(make())
        temporary.rename(path)
    return path.read_text().strip()


def exposure(path: Path) -> str:
    """Who besides its owner may read or change the file: "", "its group" or "everybody".

    Raises OSError.
    """
    mode = path.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return "everybody"
    return "its group" if mode & (stat.S_IRGRP | stat.S_IWGRP) else ""
