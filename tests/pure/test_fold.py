"""The fold infers from logs and calldata what an independent model of the contracts did."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import BadLog
from chain.facts import Block
from ledger import fold, fold_services, reads
from ledger.context import Context
from ledger.fold_accounts import cancel_newest
from ledger.state import Refund, Serving, State
from protocol import abi, events
from tests.pure.oracle import LEDGER, SERVING, World

TUNING = abi.checksum("0x" + "33" * 20)
PEOPLE = [abi.checksum(f"0x{i:040x}") for i in range(0xA1, 0xA4)]
PROVIDERS = [abi.checksum(f"0x{i:040x}") for i in range(0xB1, 0xB3)]


def history(seed: int, length: int = 50) -> list[tuple[Any, ...]]:
    """Random actions, few people and providers, so that they get in each other's way."""
    rng = random.Random(seed)
    nonce = 0

    def settle(person: str, provider: str) -> tuple[Any, ...]:
        nonlocal nonce
        items = []
        for _ in range(rng.randint(1, 4)):
            nonce += rng.choice((1, 1, 1, 0, -3))
            user = person if rng.random() < 0.7 else rng.choice(PEOPLE)
            items.append((user, rng.choice((0, 5, 20, 60)), max(0, nonce)))
        return ("settle", provider, items)

    def action() -> list[tuple[Any, ...]]:
        person, provider = rng.choice(PEOPLE), rng.choice(PROVIDERS)
        amount = rng.randint(0, 90)
        tokens = rng.choice((None, [rng.randrange(256)], [3, 3, 255], []))
        several = [*rng.sample(PROVIDERS, rng.randint(0, 2)), provider]
        wait = ("wait", rng.choice((1, 60, 1800, 3600, 9000)))
        layered = [
            step
            for _ in range(rng.randint(2, 6))
            for step in (
                ("transfer", person, provider, rng.randint(10, 40)),
                ("retrieve", person, [provider]),
                ("wait", 7),
            )
        ]
        doubt = [
            ("retrieve", person, [provider]),
            ("wait", 9000),
            ("retrieve", person, [provider]),
            ("acknowledge", person, provider, False),
            settle(person, provider),
            ("transfer", person, provider, amount),
            settle(person, provider),
        ]
        choices: tuple[list[tuple[Any, ...]], ...] = (
            [("deposit", person, amount, None)],
            [("deposit", person, 130 + amount, rng.choice((None, "hi")))],
            [("deposit_for", rng.choice(PEOPLE), person, amount)],
            [("transfer", person, provider, amount)],
            [*layered, ("transfer", person, provider, rng.randint(1, 20))],
            [*layered, settle(person, provider), wait],
            [("retrieve", person, several)],
            [settle(person, provider)],
            doubt,
            [("withdraw", person, amount)],
            [("leave", person)] if rng.random() < 0.6 else [wait],
            [("revoke", person, provider, tokens)],
            [("set_lock", rng.choice((60, 3600, 7200)))],
            [wait],
        )
        return rng.choice(choices)

    return [step for _ in range(length) for step in action()]


def new_state() -> State:
    state = State()
    state.servings.add(
        SERVING,
        Serving(
            SERVING,
            "inference",
            "v1.0",
            "inference-v1.0",
            1,
            1,
            1,
            lock_time_seconds=3600,
            audited=True,
        ),
    )
    return state


def play(actions: list[tuple[Any, ...]]) -> World:
    world = World()
    world.deposit(PEOPLE[0], 300, None)
    world.deposit(PEOPLE[1], 200, "hello")
    for name, *arguments in actions:
        if name == "wait":
            world.now += arguments[0]
        else:
            getattr(world, name)(*arguments)
    return world


def fold_all(state: State, blocks: list[Block]) -> list[Any]:
    wants = []
    for block in blocks:
        wants += fold.fold_logs(state, LEDGER, block)
    return wants


def view(state: State) -> tuple[dict[Any, Any], dict[Any, Any]]:
    ledgers = {
        x.user: (x.available, x.total, x.additional_info)
        for x in state.ledgers.values()
        if x.exists
    }
    accounts = {
        (a.user, a.provider): (
            a.live,
            a.balance,
            [list(r) for r in a.refunds],
            a.pending_refund,
            a.nonce,
            a.acknowledged,
            a.additional_info,
            a.generation,
            a.revoked_bitmap,
        )
        for a in state.accounts.values()
    }
    return ledgers, accounts


def expected(world: World) -> tuple[dict[Any, Any], dict[Any, Any]]:
    ledgers = {u: (a, world.total(u), world.info[u]) for u, a in world.available.items()}
    accounts = {
        key: (
            p.live,
            p.balance,
            [list(r) for r in p.refunds],
            p.pending,
            p.nonce,
            p.acknowledged,
            p.info,
            p.generation,
            p.bitmap,
        )
        for key, p in world.pairs.items()
        if p != type(p)()
    }
    return ledgers, accounts


@pytest.mark.parametrize("seed", range(40))
def test_the_fold_knows_what_the_contracts_did(seed: int) -> None:
    world, state = play(history(seed)), new_state()
    wants = fold_all(state, world.blocks)
    ledgers, accounts = view(state)
    real_ledgers, real_accounts = expected(world)
    assert ledgers == real_ledgers
    for key in set(accounts) | set(real_accounts):
        assert accounts.get(key, (False, 0, [], 0, 0, False, "", 0, 0)) == real_accounts.get(
            key, (False, 0, [], 0, 0, False, "", 0, 0)
        )
    assert wants == [], "direct transactions leave no question open"
    assert state.available == sum(world.available.values())
    sums: dict[Any, int] = {}
    for m in state.movements:
        key = (m.user, m.provider if m.balance == "sub_account" else None)
        sums[key] = sums.get(key, 0) + m.amount
        assert sums[key] == m.balance_after
        assert sums[key] >= 0
    settled = sum(row.settled for row in state.settlements)
    assert settled == -sum(m.amount for m in state.movements if m.kind == "settlement")


@pytest.mark.parametrize("seed", range(200, 212))
def test_layers_equal_one_pass(seed: int) -> None:
    """Folding in layers that are absorbed or thrown away at random changes nothing."""
    world, rng = play(history(seed)), random.Random(seed)
    whole, ground = new_state(), new_state()
    fold_all(whole, world.blocks)
    rows: list[Any] = []
    start = 0
    while start < len(world.blocks):
        end = start + rng.randint(1, 7)
        preview = ground.overlay()
        fold_all(preview, world.blocks[start : end + 3])  # pending blocks, thrown away
        layer = ground.overlay()
        fold_all(layer, world.blocks[start:end])
        ground.absorb(layer)
        rows += layer.movements
        start = end
    assert view(ground) == view(whole)
    assert rows == whole.movements
    assert ground.available == whole.available


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), max_size=5), st.data())
def test_cancelling_takes_the_newest_first(
    entries: list[tuple[int, int]], data: st.DataObject
) -> None:
    refunds = tuple(Refund(*entry) for entry in entries)
    total = sum(r.amount for r in refunds)
    amount = data.draw(st.integers(0, total))
    left = cancel_newest(refunds, amount)
    assert sum(r.amount for r in left) == total - amount
    assert [r.created_at for r in left] == [r.created_at for r in refunds[: len(left)]]
    assert left[:-1] == refunds[: max(0, len(left) - 1)]


def test_the_histories_are_worth_folding() -> None:
    """Every kind of movement and settlement comes up, many times."""
    kinds: Counter[str] = Counter()
    for seed in range(30):
        state = new_state()
        fold_all(state, play(history(seed)).blocks)
        kinds.update(m.kind for m in state.movements)
        kinds.update(row.status for row in state.settlements)
    wanted = {
        *("deposit", "deposit_received", "withdraw", "transfer", "refund_requested"),
        *("refund_cancelled", "refund_paid", "settlement", "account_deleted"),
        *("success", "partial", "invalid_nonce", "invalid_signature", "no_tee_signer"),
    }
    for kind in sorted(wanted):
        assert kinds[kind] >= 20, (kind, kinds)


def test_history_we_have_not_seen_is_asked_for() -> None:
    """A charge to an account we never saw opened: the rows adopt the log and ask the contract."""
    world = play([("transfer", PEOPLE[0], PROVIDERS[0], 80)])
    world.settle(PROVIDERS[0], [(PEOPLE[0], 30, 1)])
    state = new_state()
    wants = fold_all(state, world.blocks[-1:])
    account = state.accounts.get((SERVING, PEOPLE[0], PROVIDERS[0]))
    assert account is not None
    assert account.balance == 50
    assert reads.account(SERVING, "inference", PEOPLE[0], PROVIDERS[0]) in wants


def test_refused_items_are_those_of_whoever_sent_them() -> None:
    """The contract reads calldata that we do not (a byte behind a signature): nobody else's."""
    world = play([("transfer", PEOPLE[0], PROVIDERS[0], 80)])
    world.settle(PROVIDERS[0], [(PEOPLE[1], 2**256 - 1, 1)])
    block = world.blocks[-1]
    (sent,) = block.transactions
    unread = replace(sent, input=sent.input[:-64] + "01".rjust(64, "0") + "01".rjust(64, "0"))
    assert abi.decode_call(abi.INFERENCE_SERVING, unread.input) is None
    state = new_state()
    fold_all(state, [*world.blocks[:-1], replace(block, transactions=(unread,))])
    assert [row.provider for row in state.settlements] == [PROVIDERS[0]]


def test_a_transfer_is_no_charge_of_the_result_behind_it() -> None:
    """A contract may have both in one transaction: neither another provider's record nor its own
    earnings come of that."""
    user, other, wallet = PEOPLE[0], PROVIDERS[0], abi.checksum("0x" + "c1" * 20)
    world = play([("transfer", user, other, 80), ("settle", other, [(user, 30, 1)])])
    for status, claim in ((2, 2**256 - 1), (0, 0)):
        world._log(SERVING, events.BalanceUpdated(user, other, 50, 0))
        world._log(SERVING, events.TEESettlementResult(user, status, claim))
        world._mine(user, wallet, abi.LEDGER_MANAGER, "depositFund")
    for event in (  # a charge, and the same once more without one
        events.FundSpent(user, SERVING, 10),
        *(events.BalanceUpdated(user, other, 40, 0), events.TEESettlementResult(user, 0, 0)) * 2,
    ):
        world._log(LEDGER if isinstance(event, events.FundSpent) else SERVING, event)
    world._mine(user, wallet, abi.LEDGER_MANAGER, "depositFund")
    for address, event in (  # whom fine-tuning pays may settle inference at once
        (LEDGER, events.FundSpent(user, TUNING, 9)),
        (TUNING, events.BalanceUpdated(user, other, 11, 0)),
        (SERVING, events.TEESettlementResult(user, 0, 0)),
    ):
        world._log(address, event)
    world._mine(user, wallet, abi.LEDGER_MANAGER, "depositFund")
    state = new_state()
    state.servings.add(TUNING, Serving(TUNING, "fine-tuning", "", "", 1, 1, 1, audited=True))
    fold_all(state, world.blocks)
    assert [(row.provider, row.status, row.settled) for row in state.settlements] == [
        (other, "success", 30),
        (wallet, "provider_mismatch", 0),
        (wallet, "success", 0),
        (other, "success", 10),
        (other, "success", 0),
        (wallet, "success", 0),
    ]


ROUTER = abi.checksum("0x" + "c2" * 20)


@pytest.mark.parametrize(
    ("called", "listed", "named"),
    [
        (ROUTER, PROVIDERS[1:], PROVIDERS[1]),
        (ROUTER, PROVIDERS, ROUTER),
        (PROVIDERS[1], PROVIDERS, PROVIDERS[1]),
    ],
    ids=["a router, for one", "a router, for one of two", "itself"],
)
def test_an_item_without_a_charge_is_of_somebody_whose_items_are_accepted(
    called: str, listed: list[str], named: str
) -> None:
    """A provider that is a contract takes nothing from a user. Where another one called it no log
    says whose nonce that was, so everybody's who could is asked for. Of several nobody is told of
    the other's items, which may say any amount."""
    user, unlisted = PEOPLE[0], PEOPLE[1]
    held = [("transfer", user, provider, 80) for provider in (*PROVIDERS, unlisted)]
    world = play(held)
    for status, claim in ((1, 10**30), (4, 10**30)):
        world._log(SERVING, events.TEESettlementResult(user, status, claim))
    world._mine(user, called, abi.LEDGER_MANAGER, "depositFund")
    state = new_state()
    serving = state.servings.get(SERVING)
    assert serving is not None
    serving.providers = [PEOPLE[2], *listed]
    wants = [call for call in fold_all(state, world.blocks) if call.to == SERVING]
    asked = [named] if named in listed else listed
    assert wants == [reads.account(SERVING, "inference", user, provider) for provider in asked]
    assert [row.provider for row in state.settlements] == [named] * 2


def test_movements_of_a_block_have_numbers_of_their_own() -> None:
    """A deposit that only a view shows goes before what it paid for, and moves the others up."""
    first, second, third = PEOPLE
    world = play([("transfer", first, PROVIDERS[0], 80)])
    state = new_state()
    fold_all(state, world.blocks)
    block = replace(world.blocks[-1], transactions=(), logs=())
    ctx = Context(state, LEDGER, block.header, sequence=1 << 20)
    ctx.source = "view"
    ctx.move_available(ctx.ledger(second), 5, "deposit")
    ctx.move_available(ctx.ledger(first), -300, "transfer")
    ctx.deposit_in_time(ctx.ledger(first), 400, "deposit")
    ctx.move_available(ctx.ledger(third), 7, "deposit")
    numbers = [m.place.sequence for m in state.movements if m.place.block == block.header.number]
    assert len(numbers) == len(set(numbers))
    assert numbers == sorted(numbers)


def test_the_key_that_was_acknowledged_is_the_one_that_loses_it() -> None:
    """Also where one block has a new key, the owner's word on it, and its end."""
    world = play([("transfer", PEOPLE[0], PROVIDERS[0], 80)])
    state = new_state()
    ctx = Context(state, LEDGER, world.blocks[-1].header)
    serving = state.servings.get(SERVING)
    assert serving is not None
    service = ctx.service(serving, PROVIDERS[0])
    for key in PEOPLE[:2]:
        fold_services.record(ctx, service, {"tee_signer": key})
        for value in (False, True):  # of a new key: what it took with it
            fold_services.acknowledge(ctx, service, value)
    fold_services.acknowledge(ctx, service, False)
    lost = [row.after["tee_signer"] for row in state.changes if row.change == "unacknowledged"]
    assert lost == PEOPLE[:2]


def test_a_log_without_its_transaction_is_refused() -> None:
    world = play([("transfer", PEOPLE[0], PROVIDERS[0], 80)])
    block = world.blocks[-1]
    with pytest.raises(BadLog):
        fold.fold_logs(new_state(), LEDGER, Block(block.header, (), block.logs))
