"""The official command beside an action says exactly what the action does, and nothing a shell
would read as more.
"""

from __future__ import annotations

import pytest

from accounts.commands import of
from accounts.facts import FINE_TUNING, Serving

PROVIDER = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
OTHER = "0x562a07530BdE7fe867E84f5a278829Ab5463E92a"


@pytest.mark.parametrize(
    ("action", "params", "lines"),
    [
        ("deposit", {"amount": "2500000000000000000"}, ["deposit --amount 2.5"]),
        (
            "transfer",
            {"provider": PROVIDER, "service_name": "fine-tuning-v1.1", "amount": "1"},
            [
                f"transfer-fund --provider {PROVIDER} --amount 0.000000000000000001 "
                "--service fine-tuning"
            ],
        ),
        (
            "retrieve",
            {"providers": [PROVIDER, PROVIDER], "service_name": "inference-v1.0"},
            [f"retrieve-fund --provider {PROVIDER} --service inference"] * 2,
        ),
        ("withdraw", {"amount": str(10**18)}, ["refund --amount 1"]),
        (
            "acknowledge_signer",
            {"provider": PROVIDER, "acknowledged": True},
            [f"inference acknowledge-provider --provider {PROVIDER}"],
        ),
        # Commands of that name do not exist, or are hidden and the contract owner's alone.
        ("acknowledge_signer", {"provider": PROVIDER, "acknowledged": False}, []),
        ("acknowledge_signer", {"provider": PROVIDER, "service_name": "fine-tuning-v1.0"}, []),
        (
            "revoke_tokens",
            {"provider": PROVIDER, "token_ids": [3, 7]},
            [f"inference revoke-token --provider {PROVIDER} --token-id {n}" for n in (3, 7)],
        ),
        ("deposit_for", {"recipient": PROVIDER, "amount": "1"}, []),
        ("delete_ledger", {}, []),
    ],
)
def test_each_action_has_its_command_or_none(
    action: str, params: dict[str, object], lines: list[str]
) -> None:
    assert of(action, params) == tuple(f"0g-compute-cli {line}" for line in lines)


def test_another_contract_than_the_recommended_one_is_named() -> None:
    at = {"provider": PROVIDER, "providers": [PROVIDER], "service_name": "fine-tuning-v1.0"}
    for recommended, named in ((True, ""), (False, f" --fine-tuning-ca {OTHER}")):
        meant = Serving(OTHER, FINE_TUNING, "fine-tuning-v1.0", recommended)
        (transfer,) = of("transfer", {**at, "amount": "1"}, meant)
        (retrieve,) = of("retrieve", at, meant)
        assert f"--provider {PROVIDER}{named} --amount" in transfer
        assert f"--provider {PROVIDER}{named} --service fine-tuning" in retrieve


def test_nothing_but_plain_words_reaches_a_shell() -> None:
    for hostile in ("$(rm -rf ~)", "x;reboot", "`id`", "a|b", "'", "\n"):
        params = {"provider": hostile, "service_name": "inference", "amount": "1"}
        assert of("transfer", params) == (), hostile
