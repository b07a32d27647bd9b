"""The form of a listing: texts and values, units, what is refused, what a change means."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.records import Contract
from net.addresses import Policy
from operators import listing, listing_changes, listing_state
from operators.listing import FINE_TUNING, INFERENCE
from operators.listing_changes import Customers, Line
from operators.pages_listing import form_fields

SIGNER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
OTHER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
PUBLIC = Policy()
uint256 = st.one_of(
    st.sampled_from([0, 1, 10**12 - 1, 10**12, 10**24, 2**256 - 1]),
    st.integers(0, 10**20),
    st.integers(0, 2**256 - 1),
)
VALUES: dict[str, Any] = {
    "url": "https://gpu.example",
    "model": "a/model",
    "service_type": "chatbot",
    "verifiability": "TeeML",
    "input_price": 420_000_000_000,
    "output_price": 10**12,
    "tee_signer": SIGNER,
    "additional_info": '{"ProviderType": "decentralized"}',
}
TUNING: dict[str, Any] = {
    "url": "https://gpu.example",
    "models": ["one", "two"],
    "price_per_token": 5,
    "occupied": True,
    "quota": {
        **dict.fromkeys(("cpu_count", "node_memory", "gpu_count", "node_storage"), 8),
        "gpu_type": "H100",
    },
    "tee_signer": SIGNER,
}


@given(
    input_price=uint256,
    output_price=uint256,
    service_type=st.sampled_from([*listing.SERVICE_TYPES, "own-kind"]),
)
def test_texts_give_back_the_values_to_the_neuron(
    input_price: int, output_price: int, service_type: str
) -> None:
    values = {
        **VALUES,
        "input_price": input_price,
        "output_price": output_price,
        "service_type": service_type,
    }
    parsed = listing.parse(INFERENCE, listing.texts(INFERENCE, values), PUBLIC)
    assert not parsed.errors and parsed.values == values
    assert listing_changes.differing(INFERENCE, values, parsed.values) == ()


def test_labels_within_a_sentence_keep_their_abbreviations() -> None:
    said = [listing.inside(name) for name in ("url", "input_price", "cpu_count", "node_memory")]
    assert said == ["URL", "input price", "CPU cores", "memory, GB"]


def test_a_fine_tuning_listing_comes_back_whole() -> None:
    parsed = listing.parse(FINE_TUNING, listing.texts(FINE_TUNING, TUNING), PUBLIC)
    assert not parsed.errors and parsed.values == TUNING


def test_a_price_that_is_not_billed_says_so() -> None:
    for kind, idle in (
        ("chatbot", ""),
        ("embedding", "output_price"),
        ("image-editing", "input_price"),
    ):
        typed = listing.texts(INFERENCE, {**VALUES, "service_type": kind})
        parsed = listing.parse(INFERENCE, typed, PUBLIC)
        fields = form_fields(INFERENCE, typed, parsed, {}, registered=False)
        assert [one.name for one in fields if "not billed" in one.hint] == [idle] * bool(idle)


def test_prices_are_in_the_unit_of_their_type() -> None:
    assert listing.price_text(420_000_000_000, listing.TOKENS) == "0.42"
    image = listing.unit_of("output_price", "text-to-image")
    assert listing.price_text(2 * 10**15, image) == "0.002"
    assert listing.unit_of("input_price", "speech-to-text").each == "second"
    assert listing.price_text(2**256 - 1, listing.TOKENS).endswith(" neuron")


@pytest.mark.parametrize(
    ("field", "text", "word"),
    [
        ("url", "", "Enter the address"),
        ("url", "https://gpu.example/", "slash"),
        ("url", "http://gpu.example", "https"),
        ("url", "https://127.0.0.1:8080", "not a public address"),
        ("url", "https://localhost", "private network"),
        ("url", "https://u:p@gpu.example", "user name"),
        ("url", "javascript:alert(1)", "http"),
        ("url", "https://gpu.example?x=1", "query"),
        ("model", "ev\u202eil", "cannot be seen"),
        ("input_price", "1,5", "point"),
        ("input_price", "0.0000000000001", "12 decimals"),
        ("output_price", "-1", "Write an amount"),
        ("output_price", str(2**256) + " neuron", "uint256"),
        ("tee_signer", SIGNER.replace("7", "8", 1), "checksum"),
        ("tee_signer", "0x" + "0" * 40, "zero address"),
        ("additional_info", "[1]", "object"),
        ("additional_info", '{"a": 1,}', "line 1, column"),
        ("additional_info", '{"a": "' + "é" * 2048 + '"}', "4,096 bytes"),
        ("additional_info", "[" * 4000, "nested"),
        ("additional_info", '{"TargetSeparated": true}', "TargetTeeAddress"),
    ],
)
def test_what_clients_would_fail_on_is_said_at_its_field(field: str, text: str, word: str) -> None:
    typed = {**listing.texts(INFERENCE, VALUES), field: text}
    errors = listing.parse(INFERENCE, typed, PUBLIC).errors
    assert set(errors) == {field} and word in errors[field]


def lines(**changed: Any) -> tuple[Line, ...]:
    return listing_changes.consequences(
        INFERENCE,
        VALUES,
        {**VALUES, **changed},
        acknowledged=True,
        customers=Customers(3, 5 * 10**18),
        stake=0,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_type", "text-to-image"),
        ("model", "b"),
        ("verifiability", ""),
        ("tee_signer", OTHER),
        # The contract compares bytes: another spelling of the same object counts.
        ("additional_info", '{"ProviderType":"decentralized"}'),
    ],
)
def test_five_fields_reset_the_acknowledgement(field: str, value: str) -> None:
    worst = lines(**{field: value})[0]
    assert worst.tone == "bad" and "you earn nothing until" in worst.text


def test_url_and_price_do_not() -> None:
    said = lines(url="https://new.example", output_price=3 * 10**12)
    assert said[0].text == "Your signer stays acknowledged."
    assert (
        "only those who asked for that are told." in said[1].text and "200 % dearer" in said[1].text
    )
    assert not any(line.tone == "bad" for line in said)


def test_the_difference_of_additional_information_is_key_by_key() -> None:
    after = json.dumps({"ProviderType": "centralized", "<b>": "\u202e"})
    found = listing_changes.changes(INFERENCE, VALUES, {**VALUES, "additional_info": after})
    assert [(c.label.split("· ")[1], c.before, c.after) for c in found] == [
        ("ProviderType", "decentralized", "centralized"),
        ("<b>", None, "\ufffd"),
    ]
    spelled = listing_changes.changes(
        INFERENCE, VALUES, {**VALUES, "additional_info": '{"ProviderType":"decentralized"}'}
    )
    assert spelled[0].after == "the same, spelled otherwise" and spelled[0].resets


def test_a_form_is_overtaken_by_other_words_of_the_chain_alone() -> None:
    contract = Contract(OTHER, INFERENCE, "inference-v1.0", "1", True, OTHER, 0, None, 1, 1)
    on_chain = {**VALUES, "additional_info": '{\r\n"a":\r1}\0' + "\r\n" * 40_000}
    now = listing_state.Published(INFERENCE, contract, on_chain, True, 0, 0, 9, True, None)
    # As browsers send it: each end of a line as two characters, and none that no page can hold.
    sent = on_chain["additional_info"].replace("\r1", "\r\n1").replace("\0", "\ufffd")
    form = {**now.texts, "additional_info": sent}
    assert not listing_state.overtaken(now, form, form)
    later = replace(now, values={**on_chain, "model": "another/model"})
    assert listing_state.overtaken(later, form, form) == {"model"}
    assert not listing_state.overtaken(later, {**form, "model": "typed"}, form)
    # The index, which answers while the chain is silent, may be older than the form.
    assert not listing_state.overtaken(replace(later, from_chain=False), form, form)
