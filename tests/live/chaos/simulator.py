"""Runs one seed: drives the chain, hurts the follower, and looks at the result."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection

from chain.models import Head
from devnet.anvil import Anvil
from devnet.deploy import deploy
from devnet.faults import HONEST, FaultProxy
from tests.live.chaos import demands
from tests.live.chaos.child import Follower
from tests.live.chaos.plan import Plan
from tests.live.chaos.world import Chain

#: How long an honest node may take to be caught up with (seconds); far more than it needs.
CATCH_UP = 60.0


@dataclass
class Result:
    """`problems` is empty for a good seed."""

    seed: int
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    blocks: int = 0
    #: How far the followers came before faults stopped.
    reached: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    did: list[str] = field(default_factory=list)

    def line(self) -> str:
        state = "ok  " if not self.problems else "FAIL"
        return (
            f"{state} seed {self.seed}: {self.seconds:.1f} s, {self.kills} kills, "
            f"{sum(self.faults.values())} faults, "
            f"{self.reached} of {self.blocks} blocks before they stopped"
        )

    def repro(self) -> str:
        return f"./run exec -- python -m tests.live.chaos --seed {self.seed} --verbose"


class Simulation:
    """One seed at work on the database that Django is connected to, which it empties."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan, self.say = plan, say
        self.rng = random.Random(f"simulation {plan.seed}")
        self.result = Result(plan.seed)
        self.followers: list[Follower] = []
        self.proxies: list[FaultProxy] = []

    def run(self) -> Result:
        begin = time.monotonic()
        demands.empty_index()
        with contextlib.ExitStack() as stack:
            node = stack.enter_context(Anvil(args=("--slots-in-an-epoch", str(self.plan.epoch))))
            chain = Chain(self.plan.seed, deploy(node.url), node.url)
            for faults in self.plan.nodes:
                self.proxies.append(stack.enter_context(FaultProxy(node.url, faults)))
            stack.callback(self._kill_all)
            try:
                self._disturb(chain)
                self._finish(chain, node)
            except Broken as broken:
                self.result.problems.append(str(broken))
            self.result.blocks, self.result.did = chain.head(), chain.did
        for proxy in self.proxies:
            self.result.faults += proxy.counts
        self.result.seconds = time.monotonic() - begin
        return self.result

    # --- while it lasts --------------------------------------------------------------------------

    def _disturb(self, chain: Chain) -> None:
        for _ in range(self.plan.actions):
            if not self.followers and self.rng.random() < 0.4:
                self._start()
            chain.act(self.plan.reorganise)
            self._check()
            draw = self.rng.random() * 100
            if draw < self.plan.kill and self.followers:
                time.sleep(self.rng.random() * 0.08)
                self._kill(self.rng.choice(self.followers))
            elif draw < self.plan.kill + self.plan.rival and len(self.followers) == 1:
                self._start()
            elif draw > 95:
                time.sleep(self.rng.random() * 0.15)
            elif draw > 90:
                self._turn_weather()
        if self.rng.random() < 0.5:
            time.sleep(self.rng.random() * 0.5)
        self._check()

    def _turn_weather(self) -> None:
        """A node that was bad is good for a while, and the other way round."""
        index = self.rng.randrange(len(self.proxies))
        bad = self.plan.nodes[index]
        proxy = self.proxies[index]
        proxy.plan = bad if proxy.plan is HONEST else HONEST

    def _start(self) -> None:
        urls = [proxy.url for proxy in self.proxies]
        self.rng.shuffle(urls)
        self.followers.append(Follower.start(database(), tuple(urls), self.plan.knobs))
        self.say("start a follower")

    def _kill(self, follower: Follower) -> None:
        self._check()
        head = Head.objects.first()
        self.say(f"kill a follower at block {head.indexed_block if head else None}")
        follower.kill()
        self.followers.remove(follower)
        self.result.kills += 1

    def _kill_all(self) -> None:
        while self.followers:
            self.followers.pop().kill()

    def _check(self) -> None:
        for follower in self.followers:
            if (problem := follower.problem()) is not None:
                raise Broken(problem)

    # --- in the end ------------------------------------------------------------------------------

    def _finish(self, chain: Chain, node: Anvil) -> None:
        """Faults stop; the last follower catches up from wherever the others left off."""
        self._check()
        head = Head.objects.first()
        self.result.reached = max(0, head.indexed_block) if head else 0
        self._kill_all()
        if not self.plan.leave_pending:
            chain.mine(2 * self.plan.epoch + 1)
        for proxy in self.proxies:
            proxy.plan = HONEST
        self._once()
        found = list(demands.misses(node.url, settings.START_BLOCK))
        full = demands.rows(pending=True)
        found += demands.replay_differs()
        self._once()
        if not found and demands.rows(pending=True) != full:
            found.append("after replay, following on gives other rows")
        self.result.problems += found

    def _once(self) -> None:
        urls = tuple(proxy.url for proxy in self.proxies)
        last = Follower.start(database(), urls, self.plan.knobs, "--once")
        self.followers.append(last)
        last.process.join(CATCH_UP)
        if last.process.exitcode is None:
            raise Broken(f"not caught up after {CATCH_UP:g} s: {last.said()}")
        if last.process.exitcode != 0:
            raise Broken(last.problem() or "")
        self._kill_all()


class Broken(Exception):
    """The run cannot go on."""


def database() -> dict[str, Any]:
    """Where the children find the database of this process."""
    names = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
    return {name: connection.settings_dict[name] for name in names}


def run_seed(seed: int | Plan, say: Callable[[str], None] = lambda _: None) -> Result:
    """Run one seed; an exception other than of the simulated world is a bug of the simulator."""
    return Simulation(seed if isinstance(seed, Plan) else Plan.from_seed(seed), say).run()
