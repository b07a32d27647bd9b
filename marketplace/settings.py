"""All settings, from the environment (interfaces.md 2, documented in `.env.example`). No settings
tree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import django_stubs_ext
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

from marketplace import logs, sentry
from marketplace.env import Env, said
from net import stores
from net.callers import Proxies
from protocol.networks import NETWORKS, Network

# Makes `models.CharField[str, str]` and the like subscriptable at run time, as mypy reads them.
django_stubs_ext.monkeypatch()

env = Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# --- the network ----------------------------------------------------------------------------------

NETWORK_NAME = env.choice("NETWORK", (*NETWORKS, "custom"), "devnet")
_preset: Network | None = NETWORKS.get(NETWORK_NAME)
_own_node = ("http://127.0.0.1:8545",) if NETWORK_NAME == "devnet" else ()
_rpc_urls = env.urls(
    "CHAIN_RPC_URLS", _preset.rpc_urls or _own_node if _preset else (), kinds="http|ws"
)
CHAIN_RPC_URLS = tuple(url for url in _rpc_urls if url.startswith("http"))
#: Only for announcements of new heads; without any, each RPC URL is tried as a websocket.
CHAIN_WS_URLS = tuple(url for url in _rpc_urls if url.startswith("ws"))
CHAIN_ID = env.integer("CHAIN_ID", _preset.chain_id if _preset else 0)
if _preset and _preset.chain_id != CHAIN_ID:
    raise ImproperlyConfigured(
        f"CHAIN_ID={CHAIN_ID} contradicts NETWORK={NETWORK_NAME} ({_preset.chain_id}); "
        "unset it or use NETWORK=custom"
    )
LEDGER_ADDRESS = env.address("LEDGER_ADDRESS", _preset.ledger_address if _preset else "")
if not LEDGER_ADDRESS:
    raise ImproperlyConfigured(
        "LEDGER_ADDRESS is missing; NETWORK=custom needs the LedgerManager's address"
    )
if not CHAIN_ID:
    raise ImproperlyConfigured("CHAIN_ID is missing; NETWORK=custom needs the chain id as a number")
if not CHAIN_RPC_URLS:
    raise ImproperlyConfigured(
        "CHAIN_RPC_URLS names no http(s) URL; add one, like https://host/path"
    )
START_BLOCK = env.integer("START_BLOCK", _preset.start_block if _preset else 0)
CONFIRMATIONS = env.integer("CONFIRMATIONS", 12)
NETWORK = (
    _preset
    if _preset and _preset.ledger_address == LEDGER_ADDRESS
    else Network(
        NETWORK_NAME,
        _preset.label if _preset else "Custom network",
        CHAIN_ID,
        LEDGER_ADDRESS,
        START_BLOCK,
    )
)
IS_DEVNET = NETWORK_NAME == "devnet"

ALLOW_PRIVATE_PROVIDERS = env.boolean("ALLOW_PRIVATE_PROVIDERS")
if ALLOW_PRIVATE_PROVIDERS and not IS_DEVNET:
    raise ImproperlyConfigured(
        "ALLOW_PRIVATE_PROVIDERS is for a local devnet only; unset it or set NETWORK=devnet"
    )

if env.text("ATTESTATION_ANCHORS", "vendor") != "vendor" and not IS_DEVNET:
    raise ImproperlyConfigured(
        "ATTESTATION_ANCHORS names other trust anchors, which is for a local devnet only; "
        "unset it or set NETWORK=devnet"
    )
ATTESTATION_ANCHORS = env.anchors("ATTESTATION_ANCHORS")
#: A file of published measurements, compose files and images to compare with; "": none.
ATTESTATION_REFERENCES = env.references("ATTESTATION_REFERENCES")
PCS_URL = env.base_url("PCS_URL", "https://api.trustedservices.intel.com")
RIM_URL = env.base_url("RIM_URL", "https://rim.attestation.nvidia.com")
OCSP_URL = env.base_url("OCSP_URL", "https://ocsp.ndis.nvidia.com")
NRAS_URL = env.base_url("NRAS_URL", "https://nras.attestation.nvidia.com")
#: 0G storage through an indexer's gateway; empty: results come from their providers alone.
STORAGE_INDEXER_URL = env.base_url("STORAGE_INDEXER_URL")
#: Endpoints (`broker`, `model`) that are known to put our nonce into their evidence: another nonce
#: is a fail there and a warning elsewhere. Never inferred from an answer (attestation.md 13.2).
ATTESTATION_NONCE_ENDPOINTS = env.subset("ATTESTATION_NONCE_ENDPOINTS", ("broker", "model"))

#: Pays for key challenges (attestation.md 13.3): off while empty; only these providers, at most so
#: many neuron a UTC day, altogether and at each of them.
SITE_WALLET_KEY = env.private_key("SITE_WALLET_KEY")
SITE_WALLET_PROVIDERS = env.addresses("SITE_WALLET_PROVIDERS")
SITE_WALLET_DAILY = env.neuron("SITE_WALLET_DAILY", 10**17)
SITE_WALLET_DAILY_PER_PROVIDER = env.neuron("SITE_WALLET_DAILY_PER_PROVIDER", 10**16)
if SITE_WALLET_KEY and not SITE_WALLET_PROVIDERS:
    raise ImproperlyConfigured(
        "SITE_WALLET_PROVIDERS is missing: name the providers that SITE_WALLET_KEY may pay, "
        "or unset SITE_WALLET_KEY"
    )

#: Seconds between two looks at a service that is up (`probes`); providers that are never probed.
PROBE_INTERVAL_SECONDS = env.integer("PROBE_INTERVAL_SECONDS", 300, least=5, most=7 * 24 * 3600)
PROBE_OPT_OUT = env.addresses("PROBE_OPT_OUT")
#: Who says what 0G costs in US dollars, and a header that it wants, which may be a key; empty: no
#: amount is said in dollars. Over TLS, as anybody on the way could write another price.
USD_PRICE_URL = env.price_url("USD_PRICE_URL", insecure=IS_DEVNET)
USD_PRICE_HEADER = env.header("USD_PRICE_HEADER")
#: Where the public data dumps lie; empty: none are made.
DATA_DIR = env.folder("DATA_DIR")
#: `manage.py prune` deletes runs older than this; 0: reports stay for good, links to them too.
VERIFICATIONS_KEEP_DAYS = env.integer("VERIFICATIONS_KEEP_DAYS", 0, most=36_500)

# --- Django ---------------------------------------------------------------------------------------

_DEVELOPMENT_SECRET = "only-for-a-devnet-on-this-machine-" + "x" * 32
SECRET_KEY = env.text("SECRET_KEY", _DEVELOPMENT_SECRET if IS_DEVNET else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is missing; set it to 50 or more random characters")
if len(SECRET_KEY) < 50 and not IS_DEVNET:
    raise ImproperlyConfigured("SECRET_KEY is too short; set it to 50 or more random characters")
DEBUG = False
SITE_URL = env.origin("SITE_URL", "http://127.0.0.1:8000")
_own_host = urlsplit(SITE_URL).hostname or ""
_own_host = f"[{_own_host}]" if ":" in _own_host else _own_host
ALLOWED_HOSTS = [_own_host, "127.0.0.1", "localhost", *env.hosts("ALLOWED_HOSTS", ())]
CSRF_TRUSTED_ORIGINS = [SITE_URL]
CSRF_FAILURE_VIEW = "marketplace.views_errors.csrf_failure"
ROOT_URLCONF = "marketplace.urls"
AUTH_USER_MODEL = "accounts.User"
#: Of the few password accounts (`manage.py create_staff`); everybody else signs with a wallet.
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SAMESITE = "Lax"
#: One catalogue for each part of the site (`scripts/messages.py`).
LOCALE_PATHS = sorted(path for path in (BASE_DIR / "locale").glob("*") if path.is_dir())
#: Numbers look the same in every language.
FORMAT_MODULE_PATH = "marketplace.notation"
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_htmx",
    "template_partials",
    "ops",
    "marketplace",
    "alerts",
    "inference",
    "finetune",
    "operators",
    "moderation",
    "accounts",
    "probes",
    "attestation",
    "ledger",
    "chain",
]

MIDDLEWARE = [
    "marketplace.middleware.request_id",
    "marketplace.api_gate.api_gate",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "marketplace.middleware.permissions",
    "marketplace.languages.spoken",
    "marketplace.middleware.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "ops.middleware.AdminMessages",
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "marketplace.middleware.dollars",
    "marketplace.middleware.designed_errors",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "marketplace.context.site",
            ],
            "builtins": [
                "django.templatetags.i18n",
                "marketplace.templatetags.words",
                "template_partials.templatetags.partials",
                "marketplace.templatetags.kit",
                "marketplace.templatetags.pieces",
                "marketplace.templatetags.moments",
                "probes.templatetags.health",
            ],
        },
    }
]

# --- security -------------------------------------------------------------------------------------

_secure = SITE_URL.startswith("https://")
_ws_origin = SITE_URL.replace("http", "ws", 1)
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        # Wallet icons (EIP-6963) are data: URIs by that standard; an image cannot run script.
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF, _ws_origin],
        "media-src": [SELF, "blob:"],
        "worker-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
#: `/.well-known/security.txt` names these (RFC 9116): mailto:, https: or tel: addresses.
SECURITY_CONTACT = env.contacts("SECURITY_CONTACT", ("mailto", "https", "tel"))
#: Where providers may appeal besides the form: shown on `/moderation/log`.
MODERATION_CONTACT = (*env.contacts("MODERATION_CONTACT", most=1), "")[0]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
#: With this prefix no host beside or above ours can set it: with a session of theirs it would make
#: whoever reads there act here in their name.
SESSION_COOKIE_NAME = "__Host-sessionid" if _secure else "sessionid"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 7 * 24 * 3600
SESSION_COOKIE_SECURE = _secure
CSRF_COOKIE_SECURE = _secure
LANGUAGE_COOKIE_SECURE = _secure
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if _secure else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _secure
#: By this word in the header anybody may put a domain, and all below it, on the list that browsers
#: are shipped with, where it stays for months: that is for its owner to want.
SECURE_HSTS_PRELOAD = False
SECURE_SSL_REDIRECT = False  # TLS ends at the reverse proxy, which redirects
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _secure else None
SILENCED_SYSTEM_CHECKS = ["security.W008", "security.W021"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
#: Pictures, recordings and vectors that one person may keep, bytes.
MEDIA_QUOTA = env.integer("MEDIA_QUOTA_MB", 256, most=10**6) << 20
#: Reverse proxies in front of us, whose X-Forwarded-For names the visitor that limits count.
try:
    TRUSTED_PROXIES = Proxies.parse(env.text("TRUSTED_PROXIES"))
except ValueError:
    raise ImproperlyConfigured(
        f"TRUSTED_PROXIES={said(env.text('TRUSTED_PROXIES'))} is neither how many proxies there "
        "are nor their addresses and networks; fix or unset it"
    ) from None

#: Keys for fields encrypted at rest, newest first (Fernet, 32 url-safe base64 bytes each).
FIELD_KEYS = list(
    env.items("FIELD_KEYS", ("ZGV2bmV0LW9ubHkta2V5LWRldm5ldC1vbmx5LWtleSE=",) if IS_DEVNET else ())
)
if not FIELD_KEYS:
    raise ImproperlyConfigured(
        "FIELD_KEYS is missing; make one with: ./run exec -- python manage.py make_field_key"
    )

# --- stores ---------------------------------------------------------------------------------------


def database(url: str, name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's DATABASES entry of a `postgresql://user:password@host:port/name?host=/socket/dir`
    URL, which the variable `name` holds."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else str(parts.port)
    except ValueError:
        parts, port = urlsplit(""), ""
    if port == "0" or parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ImproperlyConfigured(
            f"{name} must look like postgresql://user:password@host:5432/name"
        )
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    try:
        make_conninfo(**query)
    except ProgrammingError:
        raise ImproperlyConfigured(
            f"{name}: what follows its ? is no option of PostgreSQL connections; "
            "use sslmode=…, connect_timeout=… and the like, or leave it out"
        ) from None
    host = query.pop("host", parts.hostname or "")
    size = env.integer("DATABASE_POOL_SIZE", 8, most=1000)
    pool = 0 if os.environ.get("ONE_THREAD") else size  # as manage.py has it
    # The pool tries again after 1, 2, 4, … seconds for so long, then from the beginning for whoever
    # asks: with the default of five minutes a site stays away as long again as its database was.
    pooling = {"min_size": 1, "max_size": pool, "timeout": 10, "reconnect_timeout": 10}
    return {
        "ENGINE": "net.postgres",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": port,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**query, **({"pool": pooling} if pool else {})},
    }


DATABASES = {"default": database(env.text("DATABASE_URL", "postgresql://app@127.0.0.1:5432/app"))}
#: Reads of what the chain said may go to a standby that follows the database; empty: to itself.
_replica_url = env.text("DATABASE_REPLICA_URL")
if _replica_url:
    DATABASES["replica"] = {
        **database(_replica_url, "DATABASE_REPLICA_URL"),
        "TEST": {"MIRROR": "default"},
    }
    DATABASE_ROUTERS = ["marketplace.replica.Router"]
REDIS_URL = env.text("REDIS_URL", "redis://127.0.0.1:6379/0")
try:
    #: Results of tasks are kept nowhere: what one did is in rows.
    CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = stores.celery(REDIS_URL)
except ValueError as _error:
    raise ImproperlyConfigured(f"REDIS_URL: {_error}") from None

CACHES = {"default": stores.cache(REDIS_URL)}
SESSION_ENGINE = "accounts.session_store"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [stores.layer(REDIS_URL)]},
    }
}
CELERY_TASK_TIME_LIMIT = 300
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
#: `/metrics` answers to `Authorization: Bearer …` with this; empty: to this machine only.
METRICS_TOKEN = env.bearer("METRICS_TOKEN")
#: A process that is told to end lets answers go on for DRAIN_SECONDS, below what process managers
#: wait before they kill (uvicorn's `--timeout-graceful-shutdown`, docker's 10 s); and it goes on
#: taking connections for SHUTDOWN_DELAY_SECONDS, for load balancers that have yet to notice.
DRAIN_SECONDS = env.integer("DRAIN_SECONDS", 4, most=3600)
SHUTDOWN_DELAY_SECONDS = env.integer("SHUTDOWN_DELAY_SECONDS", 0, most=3600)
#: Names of tasks (each app's `tasks.py`) and how often beat starts them, seconds. Often, because
#: beat counts from its own start: what is due less often, the task itself knows.
CELERY_BEAT_SCHEDULE: dict[str, Any] = {
    "follow-intents": {"task": "accounts.follow_intents", "schedule": 5.0},
    "personal-data": {"task": "accounts.sweep_personal", "schedule": 30.0},
    "sweep-chats": {"task": "inference.sweep", "schedule": 30.0},
    "reconcile": {"task": "ledger.reconcile", "schedule": 600.0},
    "verify-services": {"task": "attestation.sweep", "schedule": 15.0},
    "probe-services": {"task": "probes.sweep", "schedule": 15.0},
    "watch": {"task": "marketplace.watch", "schedule": 60.0},
    "dump": {"task": "marketplace.dump", "schedule": 600.0},
    "prune": {"task": "marketplace.prune", "schedule": 600.0},
    "follow-tuning": {"task": "finetune.sweep", "schedule": 5.0},
    "look-for-moderators": {"task": "moderation.sweep", "schedule": 60.0},
    "look-for-alerts": {"task": "alerts.sweep", "schedule": 15.0},
    "deliver-alerts": {"task": "alerts.deliver", "schedule": 10.0},
    "prove-domains": {"task": "operators.prove_domains", "schedule": 600.0},
}
if USD_PRICE_URL:
    CELERY_BEAT_SCHEDULE["exchange-rate"] = {"task": "probes.exchange", "schedule": 60.0}

STATIC_URL = "/static/"
_collected = env.folder("STATIC_ROOT")
STATIC_ROOT = Path(_collected) if _collected else None
STATICFILES_DIRS = [BASE_DIR / "static"]
#: Without collected files (demo, tests) WhiteNoise serves the source folders as they are now.
WHITENOISE_USE_FINDERS = not _collected
WHITENOISE_AUTOREFRESH = not _collected
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "marketplace.staticfiles.ModuleManifestStorage"
        if _collected
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

#: The look of `/admin/` (`ops.site`). What staff changed stands in the record of moderation.
UNFOLD = {
    "SITE_TITLE": "0G Market",
    "SITE_HEADER": "0G Market",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": ["ops.site.narrow"],
}

# --- mail -----------------------------------------------------------------------------------------

#: Empty without EMAIL_URL: the site then sends no mail, and says so where one would ask for it.
_mail = env.mail("EMAIL_URL")
EMAIL_HOST, EMAIL_PORT = _mail.host, _mail.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.user, _mail.password
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.starttls, _mail.tls
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = "net.smtp.Backend"
DEFAULT_FROM_EMAIL = env.sender("EMAIL_FROM", f"0G Market <no-reply@{urlsplit(SITE_URL).hostname}>")

#: The bot of alerts by Telegram, and where its API is asked; without one the site has none.
TELEGRAM_BOT_TOKEN = env.bot_token("TELEGRAM_BOT_TOKEN")
TELEGRAM_API_URL = env.base_url("TELEGRAM_API_URL", "https://api.telegram.org")
if TELEGRAM_BOT_TOKEN:
    CELERY_BEAT_SCHEDULE["hear-telegram"] = {"task": "alerts.telegram", "schedule": 5.0}

# --- logging --------------------------------------------------------------------------------------

LOG_FORMAT = env.choice("LOG_FORMAT", ("text", "json"), "text")
LOGGING = logs.configuration(
    LOG_FORMAT, env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
)
_sentry = env.dsn("SENTRY_DSN")
if _sentry:
    sentry.start(_sentry, NETWORK_NAME)
