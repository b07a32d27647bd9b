"""No word of the playground and of fine-tuning is missing from the catalogues: whoever reads them
in a language of brackets finds nothing outside of the brackets but data."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation

from accounts.models import User
from finetune import files, problems, results, wizard
from finetune.models import Dataset, DatasetState, Draft, LogPart, Passage, Task
from inference import conversations, presets, shares, words
from inference.media import selectors
from inference.media import words as media_words
from inference.media.models import File, Job
from inference.media.models import Role as FileRole
from inference.models import Chat, FeeKind, Medium, State, Turn
from inference.pages_turn import TurnView
from protocol import datasets, tuning
from tests import factories
from tests.db import chat_world, unmarked

brackets = unmarked.brackets
pytestmark = pytest.mark.django_db
NOWHERE = "http://127.0.0.1:9"
#: Names, units and words of the protocols: data in every language.
DATA = (
    r"\b0G( Market| Compute Network)?\b|[Qq]wen[\w./-]*|test-model|model-of-x",
    r"0x\w+…?\w*|\bTeeML\b|SHA-256|EIP-191|zg-decrypt\.py|\bJSON\b|\bUTC\b",
    r"asked-by-alice|what-alice-\w+|things\.jsonl|log-of-petra|a-preset",
    r"\b(" + "|".join(tuning.STAGES) + r")\b",
    r"output_model/\S+|\bsubmit\b|image/png|\b(png|jpeg|webp)\b|· text\b",
    r"\b(Authorization|Content-Type|Accept)\b|\{ \"neftune_noise_alpha.*\}",
    r"\{\"type\": \"object\".*\}",
)


@pytest.fixture
def chat() -> Chat:
    return chat_world.world(NOWHERE)


@pytest.fixture
def alice(chat: Chat) -> Client:
    client = Client(HTTP_ACCEPT_LANGUAGE="de")
    client.force_login(chat.owner)
    return client


def left(client: Client, path: str, *data: str) -> list[str]:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return sorted(unmarked.words(main(answer.content.decode()), frozenset(), *DATA, *data))


def main(page: str) -> str:
    """What a page shows between its header and its footer; parts have neither."""
    found = re.search(r"<main.*</main>", page, re.DOTALL)
    return found[0] if found else page


def turn(chat: Chat, **given: Any) -> Turn:
    """A turn that has ended, behind the last one."""
    box = chat.box
    values = {
        "state": State.ANSWERED,
        "parent_id": chat.leaf_id,
        "model": "test-model",
        "verdict": "verified",
        "verdict_reason": "hashes_match",
        "question_sealed": box.seal_text("question", "asked-by-alice"),
        "answer_sealed": box.seal_text("answer", "what-alice-reads"),
        "fee_kind": FeeKind.KNOWN,
        "fee": 10**15,
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "first_token_ms": 300,
        "total_ms": 900,
        "complete": True,
        "ended_at": timezone.now(),
    }
    made = Turn.objects.create(
        chat=chat,
        prompt_key=uuid.uuid4(),
        process="p",
        provider=factories.PETRA,
        serving=factories.INFERENCE,
        url=NOWHERE,
        input_price=1,
        output_price=1,
        max_tokens=10,
        **{**values, **given},
    )
    chat.leaf, chat.asked = made, True
    chat.save()
    return made


def test_every_end_of_an_answer(alice: Client, chat: Chat) -> None:
    kinds = [*words.FAILURES, "unheard of"]
    for number, kind in enumerate((*kinds, *words.NOTHING_CAME)):
        state = (State.FAILED, State.CUT_OFF)[number % 2]
        fee = list(FeeKind)[number % 4]
        given = {"failure": kind, "fee_kind": fee, "verdict_reason": "", "retry_after": 8}
        nothing = number >= len(kinds)
        made = turn(chat, state=state, **given, **({"answer_sealed": b""} if nothing else {}))
        ending = TurnView.of(made).ending
        assert ending and not (nothing and "arrived" in ending.text), kind
    failed = chat.leaf_id
    turn(chat, state=State.STOPPED, reasoning_sealed=chat.box.seal_text("reasoning", "x"))
    turn(chat, state=State.OPEN, verdict="pending", ended_at=None)
    shown = left(alice, reverse("inference:chat", args=[chat.pk]))
    for each in (failed, chat.leaf_id):
        shown += left(alice, reverse("inference:inspect", args=[each]))
    assert shown == []


def test_what_is_no_chat_is_not_told_to_change_its_question() -> None:
    assert [kind for kind in words.FAILURES if "question" in media_words.failure(kind).text] == []


def test_every_verdict_and_the_request_log(alice: Client, chat: Chat) -> None:
    verdicts = ("pending", "verified", "rewritten", "altered", "not_comparable", "failed")
    for number, reason in enumerate(words.VERDICTS):
        verdict = verdicts[number % len(verdicts)]
        turn(chat, verdict=verdict, verdict_reason=reason, quantity="2 pictures")
    shown = left(alice, reverse("inference:chat", args=[chat.pk]))
    for query in ("", "?state=failed&model=other"):
        shown += left(alice, reverse("inference:requests") + query)
    link = chat.box.text("share", shares.create(chat, "7").token_sealed)
    shown += left(alice, reverse("inference:shared", args=[link]))
    shown += left(alice, reverse("inference:share", args=[chat.pk]))
    assert shown == []


def test_what_stands_between_a_person_and_an_answer(alice: Client, chat: Chat) -> None:
    stranger = Client(HTTP_ACCEPT_LANGUAGE="de")
    new = reverse("inference:new")
    shown = [left(stranger, new), left(alice, new), left(alice, new + "?preset=0&q=nothing")]
    presets.save(chat.owner, "a-preset", {"system": "what-alice-saved"})
    shown.append(left(alice, reverse("inference:presets")))
    for page in ("images", "audio", "embeddings", "requests"):
        path = reverse(f"inference:{page}")
        shown += [left(stranger, path), left(alice, path)]
    chat.owner.provider_keys.all().delete()
    shown.append(left(alice, new))
    alice.get(new)
    factories.sub_account(acknowledged=True, user=factories.BOB)
    for field, value in (("verified", "on"), ("verified", "")):
        shown.append(left(alice, reverse("inference:side") + f"?{field}={value}"))
    assert [line for lines in shown for line in lines] == []


@pytest.mark.parametrize(
    ("medium", "shows", "path"),
    [
        (Medium.IMAGES, "inference:work", "images/generations"),
        (Medium.SPEECH, "inference:transcript", "audio/transcriptions"),
        (Medium.EMBED, "inference:embedded", "embeddings"),
    ],
)
def test_pictures_and_transcripts(
    alice: Client, chat: Chat, medium: Medium, shows: str, path: str
) -> None:
    for name, kind in (
        ("painter", "text-to-image"),
        ("ear", "speech-to-text"),
        ("space", "embedding"),
    ):
        factories.service(
            factories.address(name), url=NOWHERE, service_type=kind, model="model-of-x"
        )
    shown = []
    for state, failure in (
        (State.ANSWERED, ""),
        (State.FAILED, "slow_start"),
        (State.FAILED, "bad_answer"),
        (State.OPEN, ""),
    ):
        made = conversations.create_chat(chat.owner, factories.PETRA)
        made.medium = medium
        asked = turn(made, state=state, failure=failure, prompt_tokens=None)
        Job.objects.create(turn=asked, path=path, content_type="application/json", count=2)
        file = File(
            chat=made,
            turn=asked,
            role=FileRole.MADE if medium == Medium.IMAGES else FileRole.SPOKEN,
            sha256="a" * 64,
            size=1,
            width=64,
            height=64,
            seed="7",
            length_ms=9_000,
            media_type="image/png" if medium == Medium.IMAGES else "audio/wav",
        )
        file.sealed = made.box.seal(f"file {file.pk}", b"x")
        file.save()
        if medium == Medium.SPEECH:
            Job.objects.filter(turn=asked).update(piece=file)
        if medium == Medium.EMBED:
            asked.question_sealed = made.box.seal_text("question", "")
            body = b'{"data":[{"embedding":[1]},{"embedding":[2]}],"usage":{"prompt_tokens":9999}}'
            asked.response_sealed = made.box.pack("response", body)
            asked.save()
        shown.append(left(alice, reverse(shows, args=[made.pk])))
    shown += [left(alice, selectors.home_of(medium))]
    assert [line for lines in shown for line in lines] == []


def task(user: User, **given: Any) -> Task:
    now = timezone.now()
    made = Task.objects.create(
        user=user,
        remote_id=uuid.uuid4(),
        provider=factories.PETRA,
        serving=factories.FINE_TUNING,
        service_name="fine-tuning-v1.0",
        url=NOWHERE,
        model="Qwen2.5-0.5B-Instruct",
        model_hash="0xab",
        dataset_hash="0xcd",
        parameters=wizard.default_parameters(),
        price_per_token=500,
        nonce=1,
        signature="0x",
        tee_signer=factories.BOB,
        created_at=now,
        **given,
    )
    Passage.objects.create(task=made, stage=tuning.INIT, at=now)
    Passage.objects.create(task=made, stage=made.progress, at=now) if made.progress != "Init" else 0
    LogPart.objects.create(task=made, offset=0, text="log-of-petra\n")
    return made


def test_fine_tuning(alice: Client, chat: Chat) -> None:
    factories.contract(kind="fine-tuning")
    factories.service(kind="fine-tuning", url=NOWHERE)
    index, user = reverse("finetune:index"), chat.owner
    shown = [left(Client(HTTP_ACCEPT_LANGUAGE="de"), index), left(alice, index)]
    shown.append(left(alice, reverse("finetune:decrypt")))
    problems = [[0, "the file holds no rows"], [3, "messages: the 2. content: is empty"]]
    states = {
        DatasetState.GOOD: {
            "rows": 3,
            "tokens": 90,
            "duplicates": 1,
            "kind": "text",
            "file": files.create(user, 90),
        },
        DatasetState.BAD: {"problems": problems, "problem_count": 9},
        DatasetState.CHECKING: {},
        DatasetState.UPLOADING: {},
    }
    lengths = {"least": 1, "most": 40, "median": 3, "bars": [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]}
    datasets = [
        Dataset.objects.create(
            user=user, name="things.jsonl", size=90, state=state, lengths=lengths, **given
        )
        for state, given in states.items()
    ]
    draft = Draft.objects.create(
        user=user,
        provider=factories.PETRA,
        serving=factories.FINE_TUNING,
        service_name="fine-tuning-v1.0",
        model="Qwen2.5-0.5B-Instruct",
        dataset=datasets[0],
        parameters=wizard.default_parameters(),
    )
    for account in (None, 1):
        if account:
            factories.sub_account(serving=factories.FINE_TUNING, balance=1)
        for step in wizard.STEPS:
            shown.append(left(alice, f"/fine-tuning/new/{draft.pk}/{step}"))
    shown.append(left(alice, f"/fine-tuning/new/{draft.pk}/config?view=json"))
    wrong = alice.post(f"/fine-tuning/new/{draft.pk}/config", {"learning_rate": "2e-4"})
    shown.append(sorted(unmarked.words(main(wrong.content.decode()), frozenset(), *DATA)))
    for progress in tuning.STAGES:
        made = task(user, progress=progress, error="The provider gives no answer: refused.")
        shown.append(left(alice, reverse("finetune:task", args=[made.pk])))
    newest = Task.objects.order_by("-created_at")[:2]
    LogPart.objects.create(task=newest[0], offset=99, text="step 1/2 loss: 2.0\n")
    for picked in (newest, newest[:1]):
        query = "&".join(f"task={one.pk}" for one in picked)
        shown.append(
            left(alice, f"/fine-tuning/compare?{query}", *tuning.Parameters.__dataclass_fields__)
        )
    for result in results.State:
        made = task(
            user,
            progress="Delivered",
            fee=10**15,
            result_state=result,
            result_error="Its bytes have another hash than the chain names.",
            result_signer=factories.PETRA,
            result_root="0xef",
        )
        shown.append(left(alice, reverse("finetune:task", args=[made.pk])))
    shown.append(left(alice, index))
    assert [line for lines in shown for line in lines] == []


def test_what_is_kept_in_english_is_read_in_the_readers_language() -> None:
    lines = (
        *(b"\xff", b"oops", b'{"a":', b"[]", b"{}", b'{"text": " "}', b'{"text": 1}', b"x" * 2**21),
        *(b'{"messages": []}', b'{"messages": [1]}', b'{"messages": [{"role": "x"}]}'),
        b'{"messages": [{"role": "user", "content": ""}]}',
        b'{"messages": [{"role": "assistant", "content": "a"}]}',
        b'{"messages": [{"role": "user", "content": "a"}]}',
        *(b'{"text": "a"}', b'{"instruction": "a", "output": "b"}', b'{"instruction": "a"}'),
    )
    report = datasets.Report(100)
    assert sum(1 for _ in report.rows_of(lines)) == 1
    empty = datasets.Report(1)
    assert not list(empty.rows_of([b" "]))
    said = [problem.text for problem in (*report.problems, *empty.problems)]
    assert len(said) == 17
    wrong = '{"learning_rate": 2e-4, "num_train_epochs": 1.5, "max_steps": 0, "a": 1}'
    with pytest.raises(tuning.BadParameters) as refused:
        tuning.parse_parameters(wrong)
    told = ("The provider gives no answer: refused.", "It was cut off. Send it again.")
    with translation.override("de"):
        read = [problems.of_row(text) for text in said]
        read += [problems.of_setting(text) for text in refused.value.problems.values()]
        read += [problems.told(text) for text in told]
        nested = problems.of_row("messages: the 2. content: is empty")
    assert [text for text in read if not text.startswith("⟦")] == []
    # What fills a gap is looked up as well, and every text is a message in this language.
    assert nested == "⟦messages: the ⟦2⟧. ⟦⟦content⟧: is empty⟧⟧"
