"""Why a URL cannot be asked (`net.addresses`), in the reader's language."""

from __future__ import annotations

from django.utils.translation import gettext_noop as N_

from accounts import stored_sentences

_SENTENCES = (
    N_("the URL is too long or contains characters that do not belong in one"),
    N_("the URL cannot be read"),
    N_("the URL must start with http:// or https://"),
    N_("the URL contains a user name or password"),
    N_("the URL contains a fragment"),
    N_("the URL has no usable host name"),
    N_("the URL's IPv6 address cannot be read"),
    N_("the URL's host is a number that is not a plain IPv4 address"),
    N_("port {port} belongs to another kind of service"),
    N_("{host} is a name of a private network"),
    N_("{address} is not a public address"),
)


def translated(error: Exception) -> str:
    return stored_sentences.translated(str(error), _SENTENCES)
