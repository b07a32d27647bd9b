#!/bin/sh
# Makes the secrets of docker-compose.yml once. Existing ones stay: a new field key would make stored
# keys and conversations unreadable. Each file is mounted by itself and has to be readable by whoever
# its container runs as; the folder around them is its owner's, so nobody else here reaches them.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
random() { head -c 48 /dev/urandom | base64 | tr -d '\n=' | tr '+/' '-_'; }
make() { [ -s "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"; }
make postgres_password "$(random)"
make database_url "postgresql://market:$(cat secrets/postgres_password)@postgres:5432/market"
make secret_key "$(random)"
make field_keys "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"
make metrics_token "$(random)"
chmod 700 secrets
chmod 444 secrets/*
