"""A request that fails, in a process of its own: `python -m tests.db.failing_request`."""

from __future__ import annotations

import logging
import sys
from types import ModuleType

import django
import sentry_sdk
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

PROMPT = "what my doctor said about the lump"
SECRETS = (PROMPT, "app-sk-eyJhIjoxfHwweDEyMw", "s3ssion", "c00kie", "0x" + "cd" * 65)


def fails(request: HttpRequest, who: str) -> HttpResponse:
    prompt = request.POST["text"]
    told = {"provider": "0x12", "prompt": [prompt]}
    logging.getLogger("inference.test").warning(f"asking with Bearer {SECRETS[1]}", extra=told)
    raise ValueError(f"cannot send {prompt!r} with {SECRETS[1]} signed {SECRETS[4]}")


def main() -> None:
    django.setup()
    from marketplace import urls

    ours = [path("accounts/<str:who>/fail", fails), *urls.urlpatterns]
    module = sys.modules["failing_urls"] = ModuleType("failing_urls")
    vars(module).update(urlpatterns=ours, handler500=urls.handler500)
    settings.ROOT_URLCONF = module.__name__
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = SECRETS[2]
    client.cookies["other"] = SECRETS[3]
    answer = client.post(
        "/accounts/0xAl1ce/fail",
        {"text": PROMPT},
        headers={"Authorization": f"Bearer {SECRETS[1]}", "X-Request-ID": "request-one"},
    )
    print(answer.status_code, answer["X-Request-ID"])
    sentry_sdk.flush(10)


if __name__ == "__main__":
    main()
