# The site: one image for web, follow, worker and beat (docs/deploy.md). The provider's broker has an
# image of its own in deploy/provider.
FROM python:3.11-slim-bookworm AS packages
COPY requirements-production.lock /tmp/
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
      -r /tmp/requirements-production.lock

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATIC_ROOT=/srv/static \
    DRAIN_SECONDS=25
RUN useradd --system --uid 10001 --create-home market \
 && install -d -o market -g market /srv/static /var/lib/market
WORKDIR /srv/market
COPY --from=packages /venv /venv
COPY manage.py ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md SECURITY.md ./
COPY contracts/artifacts contracts/artifacts
COPY protocol protocol
COPY net net
COPY chain chain
COPY ledger ledger
COPY attestation attestation
COPY probes probes
COPY accounts accounts
COPY moderation moderation
COPY operators operators
COPY inference inference
COPY finetune finetune
COPY alerts alerts
COPY marketplace marketplace
COPY ops ops
COPY docs docs
COPY templates templates
COPY locale locale
COPY static static
# The process may not write its byte code: without it, it would compile its code at every start.
# And whatever umask the checkout was made with, it may read its code.
RUN python -m compileall -q . \
 && chmod -R a+rX .
USER market
# The key and the address are of this step only: collecting files reads no secret and no chain.
RUN NETWORK=devnet python manage.py collectstatic --noinput --verbosity 0
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["uvicorn", "marketplace.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--ws", "websockets-sansio", "--lifespan", "on", "--log-level", "warning", "--no-server-header", "--no-proxy-headers", "--ws-max-size", "262144", "--timeout-graceful-shutdown", "30"]
