"""`python -m provider check`: everything an operator should know before opening, and after."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import aiohttp

from provider.checks import local, onchain, outside
from provider.checks.findings import Finding, document, passed, text
from provider.checks.subject import load
from provider.config import Config
from provider.errors import ConfigError


def check(path: Path, *, as_json: bool = False) -> int:
    """Print what was found; 0 if the broker can open, 1 if something has to be mended."""
    logging.basicConfig(level=logging.CRITICAL)
    findings = asyncio.run(look(path))
    print(json.dumps(document(findings), indent=1) if as_json else text(findings))
    return 0 if passed(findings) else 1


async def look(path: Path) -> list[Finding]:
    """Every finding about the file at `path`. Changes nothing."""
    try:
        subject = load(path)
        # Named here, because a wrong development key would stop the start as well.
        signer = subject.signer
    except ConfigError as error:
        return [Finding("configuration", "fail", str(error), "mend that line; see docs/broker.md")]
    kind = "inference" if isinstance(subject.options, Config) else "fine-tuning"
    found = [Finding("configuration", "ok", f"{path}: {kind} broker")]
    if signer:
        found.append(Finding("signer", "ok", signer))
    found += await asyncio.to_thread(local.look, subject)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        found += await onchain.look(subject, session)
        found += await outside.look(subject, session)
    return found
