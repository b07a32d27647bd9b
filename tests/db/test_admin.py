"""`/admin/`: who enters, what is never shown, what can be changed and how that is recorded."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.apps import apps
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import models
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP

from accounts import crypto, roles
from accounts.models import AccessToken, Intent, ProviderKey, SignIn, User
from accounts.roles import Role
from alerts.models import Hook
from finetune.models import Dataset, DatasetState
from inference.models import Chat
from moderation import audit
from moderation.models import Act
from ops import admin, staff, urls_admin
from ops.models import PasswordAccount
from ops.site import site
from tests import factories
from tests.db.personal_world import prove

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"
OURS = {
    *("chain", "ledger", "attestation", "probes", "accounts", "inference", "finetune", "alerts"),
    *("operators", "moderation", "marketplace", "ops"),
}


@pytest.fixture(autouse=True)
def limits_anew(quick_passwords: None) -> None:
    cache.clear()


def member(role: Role | None, seed: str) -> User:
    user = User.objects.for_address(factories.address(seed))
    if role is not None:
        roles.give(user, role)
    return user


def enter(client: Client, user: User) -> None:
    """As after a wallet's signature a moment ago."""
    client.force_login(user)
    session = client.session
    session["proved_at"] = int(time.time())
    session.save()


# --- what is shown --------------------------------------------------------------------------------


def test_every_table_is_shown_or_left_out_on_purpose() -> None:
    assert urls_admin.REGISTERED
    ours = {model for model in apps.get_models() if model._meta.app_label in OURS}
    registered = set(site._registry)
    assert registered <= ours and not registered & admin.ABSENT
    assert {m._meta.label for m in ours - registered - admin.ABSENT} == set(), (
        "a new table: show it in ops/admin.py, or name it in ABSENT"
    )


def test_no_secret_has_a_name_on_any_page() -> None:
    private = re.compile(
        r"sealed|secret|password|digest|token$|session_key|signature|hint|email|label$|title"
        r"|^text$|parameters|preview|agent|salt|feed|recovery|^reason$"
    )
    allowed = {
        # Public text of the chain, of evidence or of our own: nobody's secret.
        *("attestation.Verification.body_signature", "chain.NodeState.reason"),
        *(
            "ledger.Service.price_per_token",
            "alerts.Rule.by_email",
            "operators.Note.text",
            "inference.Turn.signature_tries",
        ),
        *(
            "ops.FailedTask.text",
            "marketplace.Announcement.title",
            "marketplace.Update.text",
            "moderation.Act.public_text",
            "moderation.Act.reason",
            "moderation.Effect.label",
        ),
    }
    for model, shown in site._registry.items():
        if model is User:
            continue
        names = {*shown.fields, *(str(name) for name in shown.list_display)}
        found = {f"{model._meta.label}.{name}" for name in names if private.search(name)}
        assert found <= allowed, found
        for name in shown.fields:
            assert not isinstance(model._meta.get_field(name), models.BinaryField)


def rows_with_canaries(owner: User) -> list[str]:
    """Rows of people, each with something that no page may show; returns those things."""
    now, canary = timezone.now(), [f"canary-{number}" for number in range(9)]
    address = factories.PETRA
    ProviderKey.objects.create(
        user=owner,
        provider=address,
        serving=factories.INFERENCE,
        sealed=crypto.seal(canary[0]),
        label=canary[1],
        token_id=3,
        generation=0,
        created_at=now,
    )
    AccessToken.objects.create(
        user=owner,
        label=canary[2],
        digest=canary[3],
        hint="canary-h",
        created_at=now,
        expires_at=now,
    )
    SignIn.objects.create(user=owner, session_key=canary[4], agent=canary[5], seen_at=now)
    Hook.objects.create(
        user=owner,
        url=f"https://hook.example/{canary[6]}",
        created_at=now,
        sealed_secret=crypto.seal(canary[7]),
    )
    Dataset.objects.create(user=owner, name=canary[8], size=1, state=DatasetState.GOOD)
    chat = Chat.objects.create(owner=owner, provider=address)
    chat.title_sealed = b"canary-title"
    chat.save()
    Intent.objects.create(
        user=owner,
        chain_id=1,
        action="deposit",
        params={"note": "canary-params"},
        to=address,
        data="0x",
        value=1,
    )
    return [*canary, "canary-h", "canary-title", "canary-params"]


def test_pages_of_people_show_no_secret(client: Client) -> None:
    owner = member(None, "owner")
    secrets = rows_with_canaries(owner)
    secrets += list(ProviderKey.objects.values_list("sealed", flat=True))
    enter(client, member(Role.ADMIN, "admin"))
    pages = 0
    for model in site._registry:
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        paths = [base] + [f"{base}{row.pk}/change/" for row in model._default_manager.all()[:1]]
        for path in paths:
            answer = client.get(path, follow=True)
            assert answer.status_code == 200, path
            html = answer.content.decode()
            assert [secret for secret in secrets if secret in html] == [], path
            pages += 1
    assert pages > len(site._registry)


# --- who enters, under which policy ---------------------------------------------------------------


def test_only_staff_enters_and_only_there_the_policy_is_wider(client: Client) -> None:
    away = client.get("/admin/")
    assert away.status_code == 302
    ends = client.get("/admin/", follow=True)
    assert ends.redirect_chain[-1][0].startswith("/ops/sign-in?next=")
    for role in (None, Role.MODERATOR):
        enter(client, member(role, f"visitor {role}"))
        assert client.get("/admin/").status_code == 302
    for role in (Role.AUDITOR, Role.ADMIN):
        enter(client, member(role, f"staff {role}"))
        page = client.get("/admin/")
        policy = page["Content-Security-Policy"].split("; ")  # in any order
        assert page.status_code == 200
        assert "script-src 'self' 'unsafe-eval'" in policy and "default-src 'none'" in policy
        assert not any(one.startswith("script-src") and "unsafe-inline" in one for one in policy)
    for path in ("/", "/ops", "/ops/sign-in", "/admin/nothing-here/"):
        assert "unsafe" not in client.get(path)["Content-Security-Policy"], path
    blocked = member(Role.ADMIN, "blocked")
    enter(client, blocked)
    User.objects.filter(pk=blocked.pk).update(is_active=False)
    assert client.get("/admin/").status_code == 302


def test_nothing_but_a_users_roles_can_be_changed(client: Client) -> None:
    superuser = member(None, "root")
    superuser.is_superuser = True
    superuser.save()
    enter(client, superuser)
    factories.head()
    rows_with_canaries(member(None, "owner"))
    for model, shown in site._registry.items():
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert client.get(f"{base}add/").status_code == 403, base
        row = model._default_manager.first()
        if row is None:
            continue
        assert client.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        if model is not User:
            assert client.post(f"{base}{row.pk}/change/", {}).status_code == 403, base
        assert model._default_manager.filter(pk=row.pk).exists()
        assert shown.get_actions(client.get(base).wsgi_request) == {}
    assert client.get("/admin/password_change/").status_code == 404


# --- roles ----------------------------------------------------------------------------------------


def test_roles_are_given_by_admins_with_a_fresh_signature_and_a_record(client: Client) -> None:
    chief, person = member(Role.ADMIN, "chief"), member(None, "person")
    path = f"/admin/accounts/user/{person.pk}/change/"
    form = {"is_active": "on", "roles": ["moderator", "auditor"], "reason": "joined the team"}
    client.force_login(chief)
    stale = client.post(path, form)
    assert stale.status_code == 403 and "10 minutes" in stale.content.decode()
    for kept in ("moderator", "auditor", "joined the team"):
        assert f'value="{kept}">' in stale.content.decode()
    enter(client, chief)
    assert client.post(path, {**form, "reason": ""}).status_code == 200, "a reason is needed"
    assert not Act.objects.exists()
    assert client.post(path, form).status_code == 302
    assert roles.given(person) == {Role.MODERATOR, Role.AUDITOR}
    act = Act.objects.get()
    assert (act.area, act.action, act.subject) == ("admin", "roles_changed", person.address)
    assert (act.actor, act.reason) == (chief.address, "joined the team")
    assert act.before == '{"may_sign_in":true,"roles":[]}'
    SignIn.objects.create(user=person, session_key="k", seen_at=timezone.now())
    assert client.post(path, {"roles": [], "reason": "left"}).status_code == 302
    person = User.objects.get(pk=person.pk)
    assert not person.is_active and not roles.given(person)
    assert not person.sign_ins.exists(), "open sessions ended"
    assert audit.verify()[0] == 2


def test_who_may_not_change_roles(client: Client) -> None:
    chief, auditor = member(Role.ADMIN, "chief"), member(Role.AUDITOR, "auditor")
    root = member(None, "root")
    root.is_superuser = True
    root.save()
    form = {"is_active": "on", "roles": ["admin"], "reason": "me"}
    enter(client, auditor)
    for user in (auditor, chief):
        answer = client.post(f"/admin/accounts/user/{user.pk}/change/", form)
        assert answer.status_code == 403
        assert client.get(f"/admin/accounts/user/{user.pk}/change/").status_code == 200
    enter(client, chief)
    own = client.post(f"/admin/accounts/user/{chief.pk}/change/", {**form, "roles": ["auditor"]})
    assert "Nobody changes their own" in own.content.decode()
    above = client.post(f"/admin/accounts/user/{root.pk}/change/", {"reason": "no"})
    assert "Superusers are changed by" in above.content.decode()
    assert roles.given(chief) == {Role.ADMIN}
    assert User.objects.get(pk=root.pk).is_active and not Act.objects.exists()


# --- password accounts ----------------------------------------------------------------------------


def code_of(secret: str, moment: float | None = None) -> str:
    from base64 import b32decode

    clock = TOTP(b32decode(secret.replace(" ", "")))
    clock.time = moment if moment is not None else time.time()
    return f"{clock.token():06d}"


def enrolled(client: Client) -> tuple[str, list[str]]:
    """(secret, recovery codes) of a new account that signed in for the first time."""
    staff.create("rosa", PASSWORD, Role.AUDITOR)
    first = client.post("/ops/sign-in", {"name": "ROSA", "password": PASSWORD})
    assert first["Location"] == "/ops/sign-in/code"
    html = client.get("/ops/sign-in/code").content.decode()
    secret = re.search(r'data-testid="staff-secret">([A-Z2-7 ]+)<', html)
    assert secret and 'src="data:image/svg+xml' in html
    done = client.post("/ops/sign-in/code", {"code": code_of(secret[1])}).content.decode()
    return secret[1], re.findall(r"<li>([a-z0-9-]{14})</li>", done)


def test_a_password_alone_opens_nothing(client: Client) -> None:
    secret, codes = enrolled(client)
    assert len(codes) == 10 and client.get("/ops").status_code == 200
    account = PasswordAccount.objects.get()
    held = account.secret_sealed + "".join(account.recovery)
    assert codes[0] not in held and secret.replace(" ", "") not in held
    assert account.user.sign_ins.count() == 1, "the session can be ended from elsewhere"
    other = Client()
    other.post("/ops/sign-in", {"name": "rosa", "password": PASSWORD})
    assert other.get("/ops").status_code == 403 and other.get("/admin/").status_code == 302
    assert "staff-secret" not in other.get("/ops/sign-in/code").content.decode()
    code = code_of(secret, 30 * account.last_step)
    used = other.post("/ops/sign-in/code", {"code": code})
    assert used.status_code == 403, "no code works twice"
    later = code_of(secret, time.time() + 30)
    assert other.post("/ops/sign-in/code", {"code": later}).status_code == 302
    assert other.get("/ops").status_code == 200


def test_a_recovery_code_works_once(client: Client) -> None:
    _, codes = enrolled(client)
    for tried, status in ((codes[3].upper(), 302), (codes[3], 403), (codes[4], 302)):
        other = Client()
        other.post("/ops/sign-in", {"name": "rosa", "password": PASSWORD, "next": "/admin/"})
        answer = other.post("/ops/sign-in/code", {"code": tried})
        assert answer.status_code == status
        if status == 302:
            assert answer["Location"] == "/admin/"
    assert len(PasswordAccount.objects.get().recovery) == 8
    actions = list(Act.objects.order_by("number").values_list("action", flat=True))
    assert actions == ["authenticator_enrolled", "signed_in", "code_refused", "signed_in"]


def test_a_form_outlives_the_password_that_it_asks_for(client: Client) -> None:
    """As with a wallet: what was typed goes on after a fresh proof, in the same session."""
    _secret, codes = enrolled(client)
    client = Client(enforce_csrf_checks=True)
    user = PasswordAccount.objects.get().user
    client.force_login(user)
    prove(client, 601)
    asked, here = "/account/alerts/mail", "/ops/sign-in/again"

    def token(path: str = "/account/alerts") -> str:
        found = re.search(r'data-csrf="(\w+)"', client.get(path).content.decode())
        assert found is not None
        return found[1]

    def hidden(html: str, action: str) -> dict[str, str]:
        form = html[html.index(f'action="{action}"') :].partition("</form")[0]
        return dict(re.findall(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"', form))

    open_tab, key = token(), client.session.session_key
    typed = {"act": "ask", "email": "a@b.org", "csrfmiddlewaretoken": open_tab}
    stale = client.post(asked, typed)
    kept = hidden(stale.content.decode(), here)
    assert stale.status_code == 403 and "password and a code" in stale.content.decode()
    assert (kept["act"], kept["email"], kept["proof-to"]) == ("ask", "a@b.org", asked)
    wrong = client.post(here, {**kept, "proof-password": "no", "proof-code": codes[0]})
    assert wrong.status_code == 403 and "The password is wrong" in wrong.content.decode()
    assert PASSWORD not in wrong.content.decode() and 'value="no"' not in wrong.content.decode()
    kept = hidden(wrong.content.decode(), here)
    right = {**kept, "proof-password": PASSWORD}
    assert client.post(here, {**right, "proof-code": "000000"}).status_code == 403
    done = client.post(here, {**right, "proof-code": codes[0]}).content.decode()
    kept = hidden(done, asked)
    assert {name for name in kept if name != "csrfmiddlewaretoken"} == {"act", "email"}
    assert "Go on with it" in done and codes[0] not in done
    again = client.post(asked, kept)
    assert again.status_code != 403 and "password and a code" not in again.content.decode()
    assert client.session.session_key == key
    assert client.post("/account/inbox/read", {"csrfmiddlewaretoken": open_tab}).status_code == 302
    used = client.post(here, {**right, "proof-code": codes[0]})
    assert used.status_code == 403, "no code works twice"
    # A page that was asked for is gone to; nowhere else.
    alone = hidden(client.get(here).content.decode(), here)["proof-to"]
    paths = {"/account/data": "/account/data", "https://evil.example/": "/ops", alone: "/ops"}
    for path, to in paths.items():
        proof = {"proof-to": path, "proof-password": PASSWORD, "proof-code": codes.pop()}
        assert client.post(here, {**proof, "csrfmiddlewaretoken": open_tab})["Location"] == to
    assert client.get(here).status_code == 200
    prove(client, 601)
    refused = client.post(
        "/account/tokens/1/rotate", "{}", content_type="application/json",
        headers={"X-CSRFToken": open_tab},
    ).json()  # fmt: skip
    assert refused["code"] == "password_step_up_required" and here in refused["fix"]
    client.force_login(User.objects.for_address(factories.BOB))
    assert client.get(here).status_code == 404, "whoever has a wallet signs"


def test_guessing_is_slow_and_names_are_not_told(client: Client) -> None:
    staff.create("rosa", PASSWORD, Role.ADMIN)
    texts = set()
    for name in ("rosa", "nobody"):
        answer = client.post("/ops/sign-in", {"name": name, "password": "wrong"})
        assert answer.status_code == 403
        texts.add(
            re.sub(r'value="[^"]*"|request id.*', "", answer.content.decode().split("<main")[1])
        )
    assert len(texts) == 1, "a name that exists looks like one that does not"
    for _ in range(staff.TRIES - 2):
        client.post("/ops/sign-in", {"name": "rosa", "password": "wrong"})
    answer = client.post("/ops/sign-in", {"name": "rosa", "password": PASSWORD})
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    elsewhere = client.post(
        "/ops/sign-in", {"name": "rosa", "password": PASSWORD}, REMOTE_ADDR="198.51.100.9"
    )
    assert elsewhere.status_code == 302
    client.get("/ops/sign-in/code")
    for _ in range(staff.TRIES):
        assert client.post("/ops/sign-in/code", {"code": "000000"}).status_code == 403
    assert client.post("/ops/sign-in/code", {"code": "000000"}).status_code == 429


def test_doors_of_the_sign_in(client: Client) -> None:
    assert client.get("/ops/sign-in/code")["Location"] == "/ops/sign-in"
    away = client.get("/ops/sign-in?next=https://evil.example/").content.decode()
    # (The form of the language leads back to this address, as a path of this site.)
    main = away.partition("<main")[2].partition("</main>")[0]
    assert main and "evil" not in main
    user = staff.create("rosa", PASSWORD, Role.ADMIN)
    client.post("/ops/sign-in", {"name": "rosa", "password": PASSWORD})
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert client.get("/ops/sign-in/code")["Location"] == "/ops/sign-in"
    User.objects.filter(pk=user.pk).update(is_active=True)
    roles.take(user, Role.ADMIN)
    answer = Client().post("/ops/sign-in", {"name": "rosa", "password": PASSWORD})
    assert "has no role any more" in answer.content.decode()


def test_the_command_and_the_rotation_of_keys(monkeypatch: Any, settings: Any) -> None:
    import io

    def run(*arguments: str, password: str = PASSWORD) -> str:
        out = io.StringIO()
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        call_command("create_staff", *arguments, stdout=out)
        return out.getvalue()

    assert "rosa (auditor) is 0x" in run("rosa", "--role", "auditor")
    assert "new password" in run("rosa", password=PASSWORD + "!")
    with pytest.raises(CommandError, match=r"exists already; .* grant_role 0x"):
        run("rosa", "--role", "moderator", password=PASSWORD + "?")  # its role would stay
    assert PasswordAccount.objects.get().user.check_password(PASSWORD + "!")
    for name, password in (("Rosa Luxemburg", PASSWORD), ("eva", "short"), ("eva", "1" * 20)):
        with pytest.raises(CommandError):
            run(name, password=password)
    account = PasswordAccount.objects.get()
    account.secret_sealed = crypto.seal("ab" * 20)
    account.save()
    old = settings.FIELD_KEYS
    settings.FIELD_KEYS = ["bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleSE=", *old]
    assert crypto.rotate() == (1, 0)
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]
    account.refresh_from_db()
    assert crypto.unseal(account.secret_sealed) == "ab" * 20
    run("rosa", "--new-authenticator")
    account.refresh_from_db()
    assert account.secret_sealed == "" and account.enrolled_at is None
    with pytest.raises(ValidationError):
        staff.create("rosa", PASSWORD, None)
