"""The engine against the prototype it grew from, over all shipped cases in the same run (issue 5).

Both read their files themselves. Needs the vectors and the prototype beside the repository
(../shared); without them there is nothing to compare.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.measure import Result
from tests.pure.attestation_cases import VECTORS, Case, names

PROTOTYPE = Path(__file__).resolve().parents[2] / "shared" / "prototypes" / "attestation"
GOAL = 1.2


def attestation(arguments: Sequence[str]) -> list[Result]:
    parser = argparse.ArgumentParser(prog="./run bench attestation")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    if not (VECTORS.is_dir() and PROTOTYPE.is_dir()):
        print("the shipped cases or the prototype are absent: nothing to compare with")
        return []
    cases, theirs = names(), _prototype()
    ours = _seconds(lambda: [Case(name).judge() for name in cases])  # warms both caches
    baseline = _seconds(lambda: [theirs(name) for name in cases])
    for _ in range(options.rounds):  # in turns, so that a busy machine slows both
        ours = min(ours, _seconds(lambda: [Case(name).judge() for name in cases]))
        baseline = min(baseline, _seconds(lambda: [theirs(name) for name in cases]))
    per_case = 1000 / len(cases)
    print(f"   storing one of them: {_storing(cases) * per_case:.1f} ms (not in the ratio)")
    return [
        Result(
            name=f"verify {len(cases)} stored reports",
            baseline="prototype",
            unit="CPU ms each",
            ours=ours * per_case,
            theirs=baseline * per_case,
            goal=f"ratio at most {GOAL}",
            met=ours <= GOAL * baseline,
        )
    ]


def _storing(cases: Sequence[str]) -> float:
    """Seconds that writing every report with its documents takes, each in its own transaction."""
    from django.db import transaction
    from django.utils import timezone

    from attestation import runs
    from attestation.models import Endpoint, Outcome, Trigger

    now, drafts = timezone.now(), []
    for case in map(Case, cases):
        given = (Endpoint.UPLOAD, Trigger.UPLOAD, now, now, Outcome.JUDGED, case.context())
        drafts.append(runs.Draft(*given, case.judge(), evidence=case.evidence))
    started = time.perf_counter()
    for draft in drafts:
        with transaction.atomic():
            runs.store(draft)
    return time.perf_counter() - started


def _seconds(work: Callable[[], object]) -> float:
    """CPU seconds that this process spends."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _prototype() -> Callable[[str], Any]:
    """The prototype's own runner of one case."""
    specification = importlib.util.spec_from_file_location(
        "attestation_prototype", PROTOTYPE / "run_vectors.py"
    )
    if specification is None or specification.loader is None:
        raise FileNotFoundError(PROTOTYPE)
    module = importlib.util.module_from_spec(specification)
    sys.dont_write_bytecode = True  # that folder is not ours to write in
    with contextlib.redirect_stdout(io.StringIO()):
        specification.loader.exec_module(module)
    run: Callable[[str], Any] = module.run
    return run
