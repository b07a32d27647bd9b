"""What can go wrong in `accounts`, as a tree; doors translate it in one place
(`accounts.problems`).

AccountsError
├── Problem              a request we refuse, with a code, a sentence and a fix
│   ├── Refused          a contract would refuse (code = the contract's error name)
│   ├── SignInFailed     the proof of a sign-in does not hold
│   └── TooMany          a rate limit; `retry_after` in seconds
└── NodeError            the chain node did not give a usable answer
    ├── NodeUnavailable  no answer, or not in time
    ├── WrongChain       the node speaks for another chain
    └── RpcError         the node answered with an error; `data` is revert data where it is hex
"""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop


class AccountsError(Exception):
    """Base of everything raised here."""


class Problem(AccountsError):
    """A refusal that a person can act on: `code` for programs, `title` and `fix` as sentences (RFC
    9457).
    """

    def __init__(self, code: str, title: str, fix: str = "", *, status: int = 400) -> None:
        super().__init__(title)
        self.code = code
        self.title = title
        self.fix = fix
        self.status = status

    @property
    def said(self) -> str:
        """What a person reads: the title and what to do."""
        return f"{self.title} {self.fix}".strip()


class Refused(Problem):
    """The contract would refuse this; `code` is its error name and `arguments` its arguments
    (contracts.md 3.3-5). `stored`: the title in English, which is kept (`refusals.translated`).
    """

    def __init__(
        self,
        code: str,
        title: str,
        fix: str = "",
        *,
        arguments: tuple[object, ...] = (),
        stored: str = "",
    ) -> None:
        super().__init__(code, title, fix, status=422)
        self.arguments = arguments
        self.stored = stored or title


class SignInFailed(Problem):
    """The signature, or the message it signs, does not prove the address."""

    def __init__(
        self, code: str, title: str, fix: str = gettext_noop("Ask for a new message and sign it.")
    ) -> None:
        super().__init__(code, title, _(fix), status=401)


class TooMany(Problem):
    """More requests than the limit allows; try again after `retry_after` seconds. `allowance`: so
    many requests in so many seconds, by the limit's name."""

    def __init__(self, retry_after: int, allowance: tuple[str, int, int] = ("", 0, 0)) -> None:
        super().__init__(
            "too_many_requests",
            _("Too many requests."),
            _("Try again in %(retry_after)s seconds.") % {"retry_after": retry_after},
            status=429,
        )
        self.retry_after = retry_after
        self.allowance = allowance

    @property
    def headers(self) -> dict[str, str]:
        """As `marketplace.limits` says it: nothing is left, all is back in `t` seconds."""
        headers = {"Retry-After": str(self.retry_after)}
        name, limit, seconds = self.allowance
        if limit:
            headers["RateLimit-Policy"] = f'"{name}";q={limit};w={seconds}'
            headers["RateLimit"] = f'"{name}";r=0;t={self.retry_after}'
        return headers


class NodeError(AccountsError):
    """The chain node did not give a usable answer."""


class NodeUnavailable(NodeError):
    """No answer from any node, or not in time."""


class WrongChain(NodeError):
    """The node answers for another chain than the one this site is configured for."""


class RpcError(NodeError):
    """The node answered a request with an error; `data` is the revert data (0x-hex) where it gave
    one.
    """

    def __init__(self, message: str, data: str = "") -> None:
        super().__init__(message)
        self.data = data
