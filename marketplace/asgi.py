"""HTTP and websockets in one ASGI application (uvicorn)."""

from __future__ import annotations

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
http = get_asgi_application()

from accounts.sockets import EndsWithSession  # noqa: E402  (models need a configured Django)
from inference.lifespan import lifespan  # noqa: E402
from marketplace.origins import SameOrigin  # noqa: E402
from marketplace.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": http,
        "lifespan": lifespan,
        "websocket": AllowedHostsOriginValidator(
            SameOrigin(AuthMiddlewareStack(EndsWithSession(URLRouter(websocket_urlpatterns))))
        ),
    }
)
