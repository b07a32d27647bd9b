"""Is everything this site leans on there, and the right thing? One line each, with the fix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from accounts import timeskip
from chain import facts
from chain.errors import Halt, Retry
from chain.rpc import Rpc
from marketplace import scrub
from net import stores
from net.postgres.trouble import PRIMARY, advice
from protocol.abi import LEDGER_MANAGER, AbiError, decode_result, encode_call

#: A block may be so far ahead of an honest clock.
CLOCK_SLACK = timedelta(minutes=1)
#: PostgreSQL takes over the one of a system without a locale: SQL_ASCII.
_ALPHABET = (
    "its encoding is %s, in which names in other alphabets fail; restore a backup into one made "
    "with createdb --encoding=UTF8 --template=template0"
)


@dataclass(frozen=True)
class Finding:
    """One check. `fatal` means the site cannot work at all or would show another chain's money."""

    what: str
    ok: bool
    text: str
    fatal: bool = False


def examine() -> Iterator[Finding]:
    """Database, migrations, cache; by every RPC URL the clock and the LedgerManager."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (_database, _cache, _nodes)
    for check in checks:
        yield from check()


def _database() -> Iterator[Finding]:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('transaction_read_only'), "
                "current_setting('server_encoding')"
            )
            ((read_only, encoding),) = cursor.fetchall()
    except DatabaseError as error:
        text = advice(error) or str(error).partition("\n")[0]
        yield Finding("database", False, text, fatal=True)
        return
    wrong = PRIMARY if read_only == "on" else "" if encoding == "UTF8" else _ALPHABET % encoding
    yield Finding("database", not wrong, wrong or "answers")
    text = f"{len(missing)} not applied; run: manage.py migrate" if missing else "all applied"
    yield Finding("migrations", not missing, text, fatal=bool(missing))


def _cache() -> Iterator[Finding]:
    try:
        with stores.client(settings.REDIS_URL, socket_timeout=3) as client:
            client.ping()
    except redis.RedisError as error:
        text = f"{error}; start the server or correct REDIS_URL"
        yield Finding("cache", False, text, fatal=True)
        return
    yield Finding("cache", True, "answers")


def _nodes() -> Iterator[Finding]:
    for url in settings.CHAIN_RPC_URLS:
        # Paths and user names of RPC URLs are often secret keys.
        what = f"node {urlsplit(url).hostname}"
        try:
            with Rpc([url], settings.CHAIN_ID, timeout=5) as rpc:
                head = facts.header(rpc.raw_blocks(["latest"], full=False)[0])
                yield Finding(what, True, f"chain {settings.CHAIN_ID}, block {head.number}")
                yield _clock(head.timestamp - round(time.time()))
                yield _ledger(rpc)
        except Retry as error:
            why = f"{scrub.text(str(error))}; pages show the last known state"
            text = f"does not answer; correct CHAIN_RPC_URLS ({why})"
            yield Finding(what, False, text)
        except Halt as error:
            yield Finding(what, False, str(error), fatal=True)


def _clock(ahead: int) -> Finding:
    """`ahead`: seconds by which the chain's newest block is in our future. The other way nothing is
    certain: an old block may be an idle chain's."""
    wrong = ahead > CLOCK_SLACK.total_seconds()
    text = f"{ahead} s behind the chain's newest block; let NTP set it (timedatectl set-ntp true)"
    if timeskip.possible():
        text += ", unless days were skipped on this chain"
    return Finding("clock", not wrong, text if wrong else "not behind the chain's newest block")


def _ledger(rpc: Rpc) -> Finding:
    address = settings.LEDGER_ADDRESS
    answer = rpc.call(address, encode_call(LEDGER_MANAGER, "getAllActiveServices"))
    try:
        services = decode_result(LEDGER_MANAGER, "getAllActiveServices", answer)
    except AbiError:
        text = f"no LedgerManager at {address} on chain {settings.CHAIN_ID}; correct LEDGER_ADDRESS"
        return Finding("contracts", False, text, fatal=True)
    names = ", ".join(service["fullName"] for service in services) or "none registered"
    return Finding("contracts", True, f"LedgerManager {address}: {names}")
