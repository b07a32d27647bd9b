"""A second reading of the contracts' rules, in Python, to hold the Solidity against.

Written from contracts.md sections 3-7 without looking at the Solidity. It takes the calls of a
scenario one by one and says what must happen: the refusal with its arguments, or the logs and the
new state.
"""

from tests.live.oracle.fine_tuning import FineTuningOracle
from tests.live.oracle.ledger import LedgerOracle
from tests.live.oracle.serving import InferenceOracle
from tests.live.oracle.state import KINDS, ONE, Pair, Refusal, Side

__all__ = ["KINDS", "ONE", "Oracle", "Pair", "Refusal", "Side"]


class Oracle(LedgerOracle, InferenceOracle, FineTuningOracle):
    """All three contracts; see `Core`."""
