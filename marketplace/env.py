"""Reading the environment: a wrong value stops the start with one line that names the variable and
the fix."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import EmailValidator

from marketplace import scrub


@dataclass(frozen=True)
class Mail:
    """A mail server; `starttls`: encrypted after a greeting, `tls`: from the first byte."""

    host: str = ""
    port: int = 25
    user: str = ""
    password: str = ""
    starttls: bool = False
    tls: bool = False


#: Schemes of EMAIL_URL and the port each has by custom.
_MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
#: What PostgreSQL's widest whole number holds, in digits.
_MOST_WHOLE = 10**18 - 1
#: Of a wrong value a message repeats at most so much (characters).
_MOST_REPEATED = 60
#: A mail's sender: `Name <address>`, or the address alone.
_ADDRESS = re.compile(r"^[^<>\r\n]*<([^<>\s]+)>$|^([^<>\s]+)$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_HOST = re.compile(r"\*|\.?[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]")


def said(value: str) -> str:
    """A wrong value as its message repeats it: what was pasted into the wrong variable may be a
    secret, or a whole file."""
    clean = scrub.text(value)
    return repr(clean if len(clean) <= _MOST_REPEATED else clean[: _MOST_REPEATED - 1] + "…")


def _places(url: str) -> bool:
    """Whether host and port of a URL can be told."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class Env:
    """Typed access to environment variables; `NAME_FILE` may hold a path to a file with the value
    instead."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = os.environ if values is None else values

    def text(self, name: str, default: str = "") -> str:
        path = self.values.get(f"{name}_FILE")
        if path:
            try:
                return Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ImproperlyConfigured(
                    f"{name}_FILE: cannot read the file it names ({error.strerror}); "
                    "fix the path or unset it"
                ) from None
            except ValueError:
                raise ImproperlyConfigured(
                    f"{name}_FILE: the file it names is no text; write the value into it as text"
                ) from None
        return self.values.get(name, "").strip() or default

    def integer(self, name: str, default: int, *, least: int = 0, most: int = _MOST_WHOLE) -> int:
        """`most`: what more than that would break later, like a date after the year 9999."""
        raw = self.text(name)
        if not raw:
            return default
        if not re.fullmatch(r"[0-9]{1,18}", raw) or not least <= int(raw) <= most:
            bounds = f"at least {least}" if most == _MOST_WHOLE else f"{least} to {most}"
            raise ImproperlyConfigured(
                f"{name}={said(raw)} is not a whole number of {bounds}; fix or unset it"
            )
        return int(raw)

    def boolean(self, name: str) -> bool:
        raw = self.text(name).lower()
        if raw in ("1", "true", "yes", "on"):
            return True
        if raw in ("", "0", "false", "no", "off"):
            return False
        raise ImproperlyConfigured(f"{name}={said(raw)} is not a yes/no value; use 1 or 0")

    def items(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        raw = self.text(name)
        return tuple(part.strip() for part in raw.split(",") if part.strip()) or default

    def choice(self, name: str, options: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in options:
            raise ImproperlyConfigured(
                f"{name}={said(value)} is unknown; use one of: {', '.join(options)}"
            )
        return value

    def address(self, name: str, default: str = "") -> str:
        from protocol.addresses import checksum, is_address, is_mistyped

        value = self.text(name, default)
        if not value:
            return ""
        if not is_address(value):
            raise ImproperlyConfigured(
                f"{name}={said(value)} is not an address; use 0x and 40 hex digits"
            )
        if is_mistyped(value):
            raise ImproperlyConfigured(
                f"{name}={said(value)} has a wrong checksum; look for a typing error in it"
            )
        return checksum(value)

    def urls(
        self, name: str, default: tuple[str, ...] = (), *, kinds: str = "http"
    ) -> tuple[str, ...]:
        """`kinds`: `http`, or `http|ws` where websocket URLs may stand among them. A wrong one is
        named by its place: its path may be a key."""
        values = self.items(name, default)
        for place, value in enumerate(values, 1):
            if not re.fullmatch(rf"(?:{kinds})s?://[^\s/]+\S*", value) or not _places(value):
                wanted = kinds.replace("|", "(s) or ")
                which = f"URL {place} of {len(values)}" if len(values) > 1 else "its value"
                raise ImproperlyConfigured(
                    f"{name}: {which} is not an {wanted}(s) URL; write it like https://host/path"
                )
        return values

    def base_url(self, name: str, default: str = "") -> str:
        """One URL that paths are put behind, without a slash at its end; "" where there is none."""
        values = self.urls(name, (default,) if default else ())
        if len(values) > 1:
            raise ImproperlyConfigured(f"{name} takes one URL, not {len(values)}; keep one of them")
        if any(mark in value for value in values for mark in "?#"):
            raise ImproperlyConfigured(f"{name}: paths are put behind it; leave out ? and #")
        return values[0].rstrip("/") if values else ""

    def folder(self, name: str) -> str:
        """The absolute path of a folder, or "": several processes use it, each begun elsewhere."""
        value = self.text(name)
        if value and not Path(value).is_absolute():
            raise ImproperlyConfigured(
                f"{name}={said(value)} is not an absolute path; write it like /srv/market, "
                "or unset it"
            )
        return value

    def contacts(
        self, name: str, kinds: tuple[str, ...] = ("mailto", "https"), *, most: int = 9
    ) -> tuple[str, ...]:
        """Addresses that people write to, comma separated, each with its scheme."""
        values = self.items(name)
        if len(values) > most:
            raise ImproperlyConfigured(
                f"{name} takes no more than {most}, not {len(values)} addresses"
            )
        shapes = {"mailto": r"mailto:[^\s@]+@[^\s@]+", "tel": r"tel:\+?[0-9][0-9.()-]*"}
        for value in values:
            kind = value.partition(":")[0]
            if kind not in kinds or not re.fullmatch(shapes.get(kind, r"https://\S+"), value):
                like = {"mailto": "mailto:name@host", "https": "https://host/path", "tel": "tel:+1"}
                raise ImproperlyConfigured(
                    f"{name}: {said(value)} is no address like "
                    f"{', '.join(like[kind] for kind in kinds)}; fix or unset it"
                )
        return values

    def bearer(self, name: str) -> str:
        """What programs send behind `Authorization: Bearer`, or "". Never repeated: it is a key."""
        value = self.text(name)
        if not re.fullmatch(r"[\x21-\x7e]*", value):
            raise ImproperlyConfigured(
                f"{name} is no token that a header holds; use letters, digits and signs of ASCII "
                "without blanks, or unset it"
            )
        return value

    def price_url(self, name: str, *, insecure: bool) -> str:
        """One https URL, or nothing; `insecure`: http too. The value is never repeated: its query
        may hold a key."""
        value = self.text(name)
        secure = re.fullmatch(r"https?://[^\s/]+\S*" if insecure else r"https://[^\s/]+\S*", value)
        if value and not (secure and _places(value)):
            raise ImproperlyConfigured(
                f"{name} must look like https://api.example/simple/price?ids=…; fix or unset it"
            )
        return value

    def header(self, name: str) -> dict[str, str]:
        """One HTTP header, `name: value`, or none. Its value is never repeated: it may be a key."""
        value = self.text(name)
        if not value:
            return {}
        found = re.fullmatch(r"([A-Za-z0-9-]+): *([\x21-\x7e][\x20-\x7e]*)", value)
        if found is None or found[2].startswith("//"):
            raise ImproperlyConfigured(
                f"{name} must look like x-cg-demo-api-key: KEY; fix or unset it"
            )
        return {found[1]: found[2]}

    def origin(self, name: str, default: str) -> str:
        """`http(s)://host[:port]` as browsers send it: in small letters, without the port that its
        scheme has anyhow, and with nothing behind it."""
        value = self.base_url(name, default)
        parts = urlsplit(value)
        if value != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
            raise ImproperlyConfigured(
                f"{name} ends with its host or port, like https://market.example; "
                "leave out paths and user names"
            )
        host = parts.netloc.removesuffix(f":{parts.port or ''}")
        if not _HOST.fullmatch(host) or host[0] in "*.":
            raise ImproperlyConfigured(
                f"{name}={said(value)} names no host as browsers send it; write other letters than "
                "a-z as xn--…, and IPv6 in brackets"
            )
        usual = {"http": 80, "https": 443}[parts.scheme]
        port = f":{parts.port}" if parts.port not in (None, usual) else ""
        return f"{parts.scheme}://{host.lower()}{port}"

    def hosts(self, name: str, default: tuple[str, ...]) -> list[str]:
        """Host names and addresses as Django compares them: without scheme and port, `.name` for
        all below it, `*` for all."""
        values = self.items(name, default)
        for value in values:
            if not _HOST.fullmatch(value):
                raise ImproperlyConfigured(
                    f"{name}: {said(value)} is not a host name; write it without scheme, port and "
                    "path, like market.example"
                )
        return list(values)

    def anchors(self, name: str) -> str:
        """`vendor`, or the path of a file with other trust anchors (interfaces.md 1)."""
        value = self.text(name, "vendor")
        if value == "vendor":
            return value
        from attestation.engine import anchors

        try:
            anchors.load(Path(value).read_bytes())
        except OSError as error:
            problem = error.strerror or "unreadable"
        except anchors.BadAnchors as error:
            problem = str(error)
        else:
            return value
        raise ImproperlyConfigured(
            f"{name} cannot be used: {problem}; write the file again "
            "(python -m devnet.fleet --seed-file F --anchors FILE), or use vendor"
        )

    def references(self, name: str) -> str:
        """The path of a file with published values (attestation.engine.references), or ""."""
        value = self.text(name)
        if not value:
            return ""
        from attestation.engine import references

        try:
            references.load(Path(value).read_bytes())
        except OSError as error:
            problem = error.strerror or "unreadable"
        except references.BadReferences as error:
            problem = str(error)
        else:
            return value
        raise ImproperlyConfigured(
            f"{name} cannot be used: {problem}; mend the file (docs/attestation.md), or unset it"
        )

    def subset(self, name: str, options: tuple[str, ...]) -> frozenset[str]:
        """Any of the options, comma separated; none by default."""
        found = frozenset(self.items(name))
        if not found <= set(options):
            raise ImproperlyConfigured(
                f"{name}={said(self.text(name))}: use any of {', '.join(options)}, or unset it"
            )
        return found

    def addresses(self, name: str) -> frozenset[str]:
        """EIP-55 addresses, comma separated."""
        return frozenset(Env({name: text}).address(name) for text in self.items(name))

    def private_key(self, name: str) -> str:
        """32 bytes as hex, or nothing. A wrong value is never repeated: it may be nearly right."""
        from protocol.digests import SECP256K1_ORDER

        value = self.text(name).removeprefix("0x")
        if value and not (
            re.fullmatch(r"[0-9a-fA-F]{64}", value) and 0 < int(value, 16) < SECP256K1_ORDER
        ):
            raise ImproperlyConfigured(
                f"{name} is not the 64 hex digits of a private key; fix or unset it"
            )
        return value

    def bot_token(self, name: str) -> str:
        """What @BotFather gave for a bot of Telegram, or nothing. A wrong value is never repeated:
        it may be nearly right."""
        value = self.text(name)
        if value and not re.fullmatch(r"[0-9]{1,20}:[A-Za-z0-9_-]{30,100}", value):
            raise ImproperlyConfigured(
                f"{name} must look like 123456:ABC-DEF…, as @BotFather gives it; fix or unset it"
            )
        return value

    def mail(self, name: str) -> Mail:
        """`smtp://`, `smtp+tls://` (STARTTLS) or `smtps://`, with `user:password@host:port`. The
        value is never repeated: it holds a password."""
        raw = self.text(name)
        if not raw:
            return Mail()
        try:
            parts = urlsplit(raw)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in _MAIL_PORTS or not host or port == 0 or parts.path.strip("/"):
            raise ImproperlyConfigured(
                f"{name} must look like smtp+tls://user:password@mail.example.org:587 "
                f"({', '.join(_MAIL_PORTS)}); fix or unset it"
            )
        return Mail(
            host=host,
            port=port or _MAIL_PORTS[parts.scheme],
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            starttls=parts.scheme == "smtp+tls",
            tls=parts.scheme == "smtps",
        )

    def sender(self, name: str, default: str) -> str:
        """Whom mails come from: an address, or a name with one in angle brackets."""
        value = self.text(name)
        if not value:
            return default
        plain = _ADDRESS.search(value)
        address = plain[1] or plain[2] if plain else ""
        host = address.rpartition("@")[2]
        try:  # in a network of one's own a host may have a name without a dot
            EmailValidator(allowlist=[host] if _NAME.fullmatch(host) else [])(address)
        except ValidationError:
            raise ImproperlyConfigured(
                f"{name}={said(value)} holds no mail address; write it like "
                "0G Market <no-reply@market.example.org>, or unset it"
            ) from None
        return value

    def dsn(self, name: str) -> str:
        """Where Sentry (or a server that speaks its protocol) listens: `https://key@host/project`.
        The value is never repeated: it holds a key."""
        value = self.text(name)
        shape = r"https?://[^\s/@:]+(?::[^\s/@]*)?@[^\s/@]+/(?:\S*/)?\d+"
        if value and not (re.fullmatch(shape, value) and _places(value)):
            raise ImproperlyConfigured(f"{name} must look like https://key@host/1; fix or unset it")
        return value

    def neuron(self, name: str, default: int) -> int:
        """An amount in neuron, at most what a uint256 holds."""
        raw = self.text(name) or str(default)
        if not re.fullmatch(r"\d{1,77}", raw):
            raise ImproperlyConfigured(
                f"{name}={said(raw)} is no amount in neuron; fix or unset it"
            )
        return int(raw)
