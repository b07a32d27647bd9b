"""Following the chain, and rebuilding everything from stored facts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from itertools import count

from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, connection, transaction

from chain import facts, store
from chain.errors import Halt, Retry
from chain.heads import Heads, websocket_url
from chain.models import Head, RawBlock
from chain.progress import Progress
from chain.report import Reporter
from chain.rpc import Rpc
from chain.sync import Follower, Step
from ledger import topics
from ledger.models import Projection
from ledger.project import NAME, VERSION, Projector
from protocol.networks import NETWORKS

logger = logging.getLogger(__name__)

#: PostgreSQL advisory lock of the one follower: "0G index" in bytes.
LOCK = 0x3047_696E_6465_78
#: Held by whoever wants the follower to let go for a while: "0G aside".
ASIDE = 0x3047_6173_6964_65
FIRST_WAIT, LAST_WAIT = 0.25, 10.0
#: The database is away, takes no rows (a standby), or ended our session.
AWAY = (InterfaceError, InternalError, OperationalError)
#: How often a follower looks whether it is asked aside (seconds).
LOOK_ASIDE = 1.0
#: Failed steps in a row after which `follow --once` gives up (about 15 s); the loop never does.
ONCE_TRIES = 7
#: A head announced so little above what our node has (blocks) will be there in a moment (seconds,
#: twice as many at each look); after so many looks it is waited for like any other.
AHEAD, SOON, LOOKS = 3, 0.05, 6
#: Blocks folded per transaction when replaying.
REPLAY_BLOCKS = 20_000


def poll_seconds() -> float:
    """How often an idle follower asks for the head."""
    return 0.3 if settings.IS_DEVNET else 2.0


def listening_seconds() -> float:
    """The same while new heads are announced: a look around in case one was not."""
    return 1.0 if settings.IS_DEVNET else 5.0


def make_heads() -> Heads:
    """Where new heads are announced: the websockets listed, then the RPC URLs' own."""
    urls = [*settings.CHAIN_WS_URLS, *(websocket_url(url) for url in settings.CHAIN_RPC_URLS)]
    return Heads(urls)


def make_follower() -> Follower:
    """A follower of the configured network; the caller holds `only_one`."""
    rpc = Rpc(settings.CHAIN_RPC_URLS, settings.CHAIN_ID)
    projector = make_projector()
    return Follower(
        rpc, projector, chain_id=settings.CHAIN_ID, confirmations=settings.CONFIRMATIONS
    )


def make_projector() -> Projector:
    """A projector from START_BLOCK on; one later than the contracts begins with an opening."""
    network = replace(settings.NETWORK, start_block=settings.START_BLOCK)
    preset = NETWORKS.get(settings.NETWORK_NAME)
    from_creation = preset is not None and preset.start_block == network.start_block
    return Projector(network, opens=not from_creation)


@contextmanager
def only_one(stopping: Callable[[], bool]) -> Iterator[bool]:
    """Hold the follower's lock, waiting for another one to go; False when stopped meanwhile.

    The lock is the database session's: it ends with the process, however that dies.
    """
    held, told = False, False
    try:
        while not stopping():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
                held = bool(cursor.fetchone()[0])
            if held:
                break
            if not told:
                logger.info("another follower holds the lock; waiting")
                told = True
            time.sleep(0.5)
        yield held
    finally:
        if held:
            _unlock(LOCK)


def _unlock(lock: int) -> None:
    """Where the session is gone the lock is, too."""
    if connection.connection is not None:
        with suppress(*AWAY), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])


@contextmanager
def follower_aside(waiting: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Ask a running follower to let go, and hold its lock; it goes on by itself afterwards.

    `waiting` is called while it has not let go yet; True gives up, then False is yielded.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [ASIDE])
    try:
        with only_one(waiting) as held:
            yield held
    finally:
        _unlock(ASIDE)


class _Aside:
    """Whether somebody asks the follower aside, looked up once per LOOK_ASIDE (1 query)."""

    def __init__(self) -> None:
        self.looked, self.asked = 0.0, False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self.looked >= LOOK_ASIDE:
            self.looked = now
            with connection.cursor() as cursor:
                # Free is taken and given back at once; NULL where somebody holds it.
                cursor.execute(
                    "SELECT CASE WHEN pg_try_advisory_lock_shared(%s) "
                    "THEN pg_advisory_unlock_shared(%s) END",
                    [ASIDE, ASIDE],
                )
                self.asked = cursor.fetchone()[0] is None
        return self.asked


def follow_alone(
    *,
    once: bool = False,
    to_block: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
    on_step: Callable[[Step, Progress], None] | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Step | None:
    """`follow` under the lock, whatever the database does meanwhile.

    When it goes away (a restart, no space left) everything held in memory is forgotten: a new
    session takes the lock again and reads the state anew. With `once`, and where there was no
    database from the start, its error is raised. With `once` beside a running follower
    it waits until that one has done what was asked, and returns None. Without `once` it lets go
    while somebody is in `follower_aside`.
    """
    wait, met = FIRST_WAIT, False
    done = _done_by_another(to_block) if once else lambda: False
    aside = _Aside()
    pausing = stopping if once else lambda: stopping() or aside()
    while True:
        began = time.monotonic()
        try:
            with only_one(_after_one_try(stopping, done)) as held:
                met = True
                if not held:
                    return None
                last = follow(once=once, to_block=to_block, stopping=pausing, on_step=on_step)
            if once or stopping():
                return last
            logger.info("asked aside; waiting")
            while aside() and not stopping():
                _sleep(LOOK_ASIDE, stopping)
        except AWAY as error:
            met = met or connection.connection is not None
            connection.close()
            if once or stopping() or not met:
                raise
            on_wait(f"waiting for the database: {str(error).partition(chr(10))[0]}")
            wait = FIRST_WAIT if time.monotonic() - began > LAST_WAIT else min(LAST_WAIT, wait * 2)
            _sleep(wait, stopping)


def _after_one_try(stopping: Callable[[], bool], done: Callable[[], bool]) -> Callable[[], bool]:
    """`stopping`, and from the second time on `done` too: a free lock is taken first."""
    tries = count()
    return lambda: stopping() or (next(tries) > 0 and done())


def _done_by_another(to_block: int | None) -> Callable[[], bool]:
    """Whether the running follower has caught up with the node's head (or `to_block`), as it is
    when this is first asked; raises what the node says where it gives no head.
    """

    @cache
    def goal() -> int:
        with Rpc(settings.CHAIN_RPC_URLS, settings.CHAIN_ID) as rpc:
            head = facts.quantity(rpc.ask("eth_blockNumber"))
        return head if to_block is None else min(head, to_block)

    rows = Head.objects.filter(chain_id=settings.CHAIN_ID)
    return lambda: rows.filter(indexed_block__gte=goal()).exists()


def follow(
    *,
    once: bool = False,
    to_block: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
    on_step: Callable[[Step, Progress], None] | None = None,
) -> Step | None:
    """Keep the rows up with the chain.

    1. Take a step. 2. Tell open pages what changed. 3. Go on at once while there is more, else
    wait a moment. A `Retry` is written to the head row and tried again, ever more slowly; a
    `Halt` is written to the head row and raised (exit code 2). With `once` it returns when it has
    caught up with the head of its start, or raises the `Retry` that kept coming; with `to_block`
    it folds no (final) block above that.
    """
    follower, wait, last, failed = make_follower(), FIRST_WAIT, None, 0
    follower.limit = to_block
    heads = make_heads()
    reporter = Reporter(settings.CHAIN_ID, follower.rpc, heads)
    goal: int | None = None
    try:
        while not stopping():
            try:
                last = follower.step()
            except Retry as error:
                logger.warning("waiting for the node", extra={"error": str(error)})
                follower.fail(str(error), halted=False)
                reporter.write()
                failed += 1
                if once and failed >= ONCE_TRIES:
                    raise
                _sleep(wait, stopping)
                wait = min(LAST_WAIT, wait * 2)
                continue
            except Halt as error:
                follower.fail(str(error), halted=True)
                reporter.write()
                raise
            wait, failed = FIRST_WAIT, 0
            goal = last.head_block if goal is None else goal
            if last.changed:
                tell(follower, last)
            progress = reporter.step(last)
            if on_step is not None:
                on_step(last, progress)
            if last.more:
                continue
            if once and (to_block is not None or last.indexed_block >= goal):
                break
            wait_for_head(heads, last, stopping)
        reporter.write()
    finally:
        heads.close()
        follower.close()
    return last


def wait_for_head(heads: Heads, last: Step, stopping: Callable[[], bool]) -> None:
    """Until a new head is announced, or it is time to look for one.

    The announcing node may be ahead of the one we read: then look again very soon.
    """
    if last.head_block < heads.number <= last.head_block + AHEAD and heads.looks < LOOKS:
        _sleep(SOON * 2**heads.looks, stopping)
        heads.looks += 1
    elif heads.live is None:
        heads.wait(poll_seconds(), stopping)
    elif not heads.wait(listening_seconds(), stopping) and last.changed:
        heads.missed()


def tell(follower: Follower, step: Step) -> None:
    projector = follower.projection
    if isinstance(projector, Projector):
        topics.publish_ledger(step.indexed_block, step.final_block, *projector.touched)


def _sleep(seconds: float, stopping: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stopping():
        time.sleep(min(left, 0.1))


def replay(on_blocks: Callable[[int], None] | None = None) -> int:
    """Empty every derived table and fold the stored final facts again; returns the last block.

    One transaction: readers see the old rows until the new ones are complete. Pending rows come
    back with the follower's next step. The caller holds `follower_aside`.
    """
    with transaction.atomic():
        Projection.objects.update_or_create(name=NAME, defaults={"version": VERSION})
        projector = make_projector()
        projector.reset()
        head = Head.objects.select_for_update().filter(chain_id=settings.CHAIN_ID).first()
        last = head.final_block if head is not None else -1
        start = _first_block()
        while start <= last:
            end = min(last, start + REPLAY_BLOCKS - 1)
            projector.replay(list(store.blocks(start, end)), end)
            if on_blocks is not None:
                on_blocks(end)
            start = end + 1
        projector.replay([], last)
        if head is not None:
            # Rows now end at the final block: the next step must not take us for up to date.
            head.indexed_block, head.indexed_hash = head.final_block, head.final_hash
            head.save(update_fields=["indexed_block", "indexed_hash"])
    return last


def _first_block() -> int:
    first = RawBlock.objects.order_by("number").first()
    return first.number if first is not None else 0
