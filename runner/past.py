"""`./run demo --history`: a chain with a past, and measurements of it, marked as made up."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from runner.tree import Stop, Tree

DAYS, SERVICES = 90, 500


def services_wanted(arguments: Sequence[str]) -> int:
    """How many made-up services the demo is to have; 0 without a past."""
    options = argparse.ArgumentParser(prog="./run demo", description="The whole system here.")
    options.add_argument(
        "--history",
        type=int,
        nargs="?",
        const=SERVICES,
        default=0,
        metavar="N",
        help=f"a chain of {DAYS} days with N more services ({SERVICES}), and example "
        "measurements, marked as such; takes minutes",
    )
    wanted: int = options.parse_args(arguments).history
    return wanted


def pretend_measurements(tree: Tree) -> None:
    """Before anything probes: what nobody can measure, because nobody is there."""
    for name, command in (
        ("follow-once", ("follow", "--once")),
        ("pretend", ("seed_demo", "--history")),
    ):
        child = tree.python(name, "manage.py", *command)
        tree.ended(child, name, seconds=900)
        if child.code:
            raise Stop(f"{name} failed:\n{child.tail()}")
    tree.say("history indexed, example measurements made")
