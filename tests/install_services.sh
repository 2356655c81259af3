#!/usr/bin/env bash
# Installs the servers that the service tests start for themselves, where that can be done:
# Debian or Ubuntu, as root. Elsewhere tests use what is installed and skip the rest.
set -uo pipefail
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "No PostgreSQL server here: its tests will be skipped."
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null \
    || echo "PostgreSQL could not be installed: its tests will be skipped."
