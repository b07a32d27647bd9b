"""What can be seen on this machine: secrets, store, disk, log, evidence."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from protocol.fees import EMBEDDING
from provider import keyfiles, schema
from provider.amounts import in_0g
from provider.checks.findings import Finding, State
from provider.checks.subject import Subject
from provider.config import CHAT, SPEECH
from provider.tuning.options import Options as TuningOptions

GIB = 1024**3
LOW_DISK, LITTLE_DISK = GIB // 2, 5 * GIB


def look(subject: Subject) -> list[Finding]:
    """All of it."""
    found = [Finding("wallet key", "ok", f"is the key of {subject.provider}")]
    found += _secrets(subject)
    found += [_price(subject), _disk(subject), _store(subject), _log(subject), _evidence(subject)]
    if isinstance(subject.options, TuningOptions):
        found += _executors(subject.options)
    return found


def _price(subject: Subject) -> Finding:
    """The prices as people compare them: a digit too many is easily missed in neuron."""
    options = subject.options
    if isinstance(options, TuningOptions):
        said = f"{_per_million(options.price_per_token)} trained"
    else:
        asked, answered = options.service.input_price, options.service.output_price
        kind = options.service.type
        if kind == CHAT:
            said = f"{_per_million(asked)} asked, {_per_million(answered)} answered"
        elif kind == EMBEDDING:
            said = _per_million(asked)
        elif kind == SPEECH:
            price = asked if options.service.speech_rule == "sdk" else answered
            said = f"{in_0g(price)} 0G per second"
        else:
            said = f"{in_0g(answered)} 0G per picture"
    return Finding("price", "ok", said)


def _per_million(neuron: int) -> str:
    return f"{in_0g(neuron * 10**6)} 0G per million tokens"


def _secrets(subject: Subject) -> Iterator[Finding]:
    """Who may read the files with secrets."""
    for place in subject.secrets:
        path = place.file or (subject.path if place.inline else None)
        name = f"secret {place.key}"
        if path is None:
            yield Finding(name, "ok", "comes from the environment")
            continue
        try:
            who, owner = keyfiles.exposure(path), path.stat().st_uid
        except OSError as error:
            yield Finding(name, "fail", f"{path}: {error.strerror}", "make it readable for you")
            continue
        fix = f"chmod 600 {path}"
        if who:
            state: State = "fail" if who == "everybody" else "warn"
            yield Finding(name, state, f"{who} may read or change {path}", fix)
        elif owner not in (os.getuid(), 0):
            yield Finding(
                name, "warn", f"{path} belongs to another user", f"chown {os.getuid()} {path}"
            )
        else:
            yield Finding(name, "ok", f"{path} is readable by its owner only")


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def _disk(subject: Subject) -> Finding:
    folder = _existing(subject.state.absolute())
    free = shutil.disk_usage(folder).free
    said = f"{free / GIB:.1f} GiB free at {folder}"
    fix = "make room: a broker whose disk is full cannot write down what it is owed"
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("state folder", "fail", f"{folder} cannot be written", f"chown it: {folder}")
    if free < LITTLE_DISK:
        return Finding("disk", "fail" if free < LOW_DISK else "warn", said, fix)
    return Finding("disk", "ok", said)


def _store(subject: Subject) -> Finding:
    path = subject.state / "broker.sqlite3"
    if not path.exists():
        return Finding("store", "ok", f"none yet: the first start makes {path}")
    if subject.state.stat().st_mode & 0o077:
        return Finding(
            "store",
            "warn",
            f"others may look into {subject.state}: it says who asked, and how much",
            f"chmod 700 {subject.state}",
        )
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2)
        try:
            version = schema.version(db)
            sound = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            db.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return Finding("store", "ok", "in use by a running broker")
        return Finding(
            "store", "fail", f"{path}: {error}", "see who owns it and whether it is whole"
        )
    except sqlite3.Error as error:
        return Finding("store", "fail", f"{path}: {error}", "restore it; debts are in it")
    if version > schema.VERSION:
        return Finding(
            "store",
            "fail",
            f"written by a newer broker (version {version}, this one knows {schema.VERSION})",
            "run that broker again",
        )
    if sound != "ok":
        return Finding("store", "fail", f"damaged: {sound}", "restore it; debts are in it")
    rise = f", becomes {schema.VERSION} at the next start" if version < schema.VERSION else ""
    return Finding("store", "ok", f"whole, version {version}{rise}")


def _log(subject: Subject) -> Finding:
    file = subject.log.file
    if file is None:
        return Finding("log", "ok", f"{subject.log.format} on standard error")
    if not os.access(file if file.exists() else _existing(file.parent.absolute()), os.W_OK):
        return Finding("log", "fail", f"{file} cannot be written", "change log.file or its owner")
    kept = f"{subject.log.files} files of {subject.log.max_bytes} bytes are kept"
    return Finding(
        "log", "ok", f"{file}, {kept if subject.log.max_bytes else 'put aside by others'}"
    )


def _evidence(subject: Subject) -> Finding:
    if subject.tee.backend == "lying":
        return Finding(
            "attestation",
            "fail",
            "the lying backend signs answers that were not given",
            "tee.backend: dev, unless verifiers are to be tried",
        )
    return Finding(
        "attestation",
        "warn",
        "development evidence: the key lies in a file, and nobody who trusts Intel and NVIDIA "
        "will believe it",
        "this broker has no backend for real hardware yet; sell it as what it is",
    )


def _executors(options: TuningOptions) -> Iterator[Finding]:
    for model in options.models:
        program = shutil.which(model.command[0])
        name = f"executor of {model.name}"
        if program is None:
            yield Finding(
                name, "fail", f"there is no {model.command[0]}", "install it, or its path"
            )
        else:
            yield Finding(name, "ok", program)
