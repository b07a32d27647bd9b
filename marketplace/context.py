"""What every template may use besides its `page`: the network and how fresh the data is."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    return {"network": settings.NETWORK, "request_id": getattr(request, "request_id", "")}
