# `./run demo` in a container: everything it needs comes from PyPI and npm at build time.
# Debian 13: in 12, Node.js is 18, for which npm leaves anvil out without a word.
FROM python:3.11-trixie
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends nodejs npm \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home market
COPY --chown=market . /home/market/app
USER market
WORKDIR /home/market/app
RUN ./run exec -- python --version
STOPSIGNAL SIGINT
CMD ["./run", "demo"]
