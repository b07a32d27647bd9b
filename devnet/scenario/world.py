"""Chooses what happens next, and does it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from devnet.client import Reverted
from devnet.deploy import Contracts, Deployment, connect
from devnet.scenario.base import FAILING_GAS, NAMES, ONE, SENT_ANYWAY, Call, Step
from devnet.scenario.serving import ServingActions
from devnet.scenario.settlement import SettlementActions


def run(
    seed: int,
    steps: int,
    deployment: Deployment,
    rpc_url: str,
    *,
    on_step: Callable[[Step], None] | None = None,
) -> list[Step]:
    """Does `steps` transactions (time travel between them is not counted) and lists them."""
    world = World(random.Random(seed), connect(rpc_url, deployment))
    done: list[Step] = []
    for call in world.opening():
        if len(done) < steps:
            done.append(world.perform(len(done), call, on_step))
    while len(done) < steps:
        chosen = world.next_call()
        if chosen is not None:
            done.append(world.perform(len(done), chosen, on_step))
    return done


class World(ServingActions, SettlementActions):
    """Chooses the next plausible call by looking at the chain."""

    def __init__(self, rng: random.Random, contracts: Contracts) -> None:
        super().__init__(rng, contracts)
        self.menu: tuple[tuple[int, Callable[[], Call | None]], ...] = (
            (8, self.deposit),
            (3, self.deposit_for),
            (2, self.deposit_through_contract),
            (2, self.add_ledger),
            (16, self.transfer),
            (12, self.retrieve),
            (5, self.withdraw),
            (1, self.delete_ledger),
            (2, self.update_info),
            (4, self.inference_service),
            (3, self.fine_tuning_service),
            (1, self.remove_service),
            (9, self.owner_decision),
            (2, self.user_acknowledgement),
            (4, self.revoke_tokens),
            (18, self.settle_inference),
            (6, self.add_deliverable),
            (4, self.acknowledge_deliverable),
            (1, self.abandon_deliverable),
            (6, self.settle_fine_tuning),
            (1, self.lock_time),
            (1, self.penalty),
            (4, self.pass_time),
            (2, self.leave),
            (3, self.layer_refunds),
        )

    def opening(self) -> list[Call]:
        """Providers register and users fund accounts, so that what follows has something to do."""
        calls: list[Call] = []
        for number in range(3):
            calls += [self._inference_service(number), self._fine_tuning_service(number)]
            for kind in NAMES:
                calls.append(self._acknowledge(kind, number))
        for user in self.users[:5]:
            calls.append(Call(user, "ledger", "depositFund", (), self.rng.randint(20, 80) * ONE))
            for name in NAMES.values():
                provider = self.rng.choice(self.providers[:3]).address
                amount = self.rng.randint(ONE, 6 * ONE)
                calls.append(Call(user, "ledger", "transferFund", (provider, name, amount)))
        return calls

    def next_call(self) -> Call | None:
        """None when the chosen action has no target now, or only passed time."""
        if self.plan:
            return self.plan.pop(0)()
        weights = [weight for weight, _ in self.menu]
        return self.rng.choices([action for _, action in self.menu], weights)[0]()

    def perform(self, number: int, call: Call, on_step: Callable[[Step], None] | None) -> Step:
        target = self.contract(call.contract)
        error: str | None = None
        error_args: tuple[Any, ...] = ()
        receipt = None
        send_anyway = self.rng.random() < SENT_ANYWAY
        try:
            receipt = target.send(call.by, call.function, *call.args, value=call.value)
        except Reverted as refusal:
            error, error_args = refusal.error, refusal.args_
            if send_anyway:
                receipt = target.send(
                    call.by, call.function, *call.args, value=call.value, gas=FAILING_GAS
                )
        block = receipt.block if receipt else self.contracts.chain.block_number()
        step = Step(
            number=number,
            sender=call.by.address,
            contract=call.contract,
            function=call.function,
            args=call.args,
            value=call.value,
            error=error,
            error_args=error_args,
            tx_hash=receipt.tx_hash if receipt else None,
            block=block,
            timestamp=self.contracts.chain.timestamp(block),
            logs=receipt.logs if receipt else (),
        )
        if on_step is not None:
            on_step(step)
        return step
