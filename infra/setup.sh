#!/bin/sh
# Makes $VENV with every package that requirements.lock pins. With the argument "tests" it sees to
# PostgreSQL's programs, Chromium and PHP instead: tests start servers and browsers of their own, and
# call the process pool from another language.
# Quiet, and safe to run again.
set -eu
cd "$(dirname "$0")/.."
: "${PYTHON:=python3}" "${VENV:=.venv}"

may_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

need() { # need WHAT PACKAGE...: install Debian packages if we may, else say which
    what=$1
    shift
    if may_install; then
        apt-get -qq update >/dev/null
        DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq install -y --no-install-recommends "$@" >/dev/null
    else
        echo "$what is missing: apt-get install $*" >&2
        exit 1
    fi
}

has_postgres() {
    command -v postgres >/dev/null && return
    for binary in "$(pg_config --bindir 2>/dev/null)/postgres" /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$binary" ] && return
    done
    return 1
}

has_chromium() {
    for binary in chromium chromium-browser google-chrome; do
        command -v "$binary" >/dev/null && return
    done
    return 1
}

if [ "${1-}" = tests ]; then
    has_chromium || need "Chromium" chromium fonts-dejavu-core
    command -v php >/dev/null || need "PHP" php-cli
    command -v Rscript >/dev/null || need "Rscript" r-base-core
    has_postgres && exit
    if may_install; then # without the server that Debian would set up and start along with it
        no_server=/etc/postgresql-common/createcluster.d/workermanager.conf
        mkdir -p "${no_server%/*}"
        trap 'rm -f "$no_server"' EXIT
        echo "create_main_cluster = false" >"$no_server"
    fi
    need "PostgreSQL" postgresql
    exit
fi

command -v "$PYTHON" >/dev/null || need "Python" python3 python3-venv
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$("$PYTHON" --version) is too old: 3.11 or newer is needed; make PYTHON=python3.11" >&2
    exit 1
}
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || need "Python's venv" python3-venv

[ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c '' 2>/dev/null || "$PYTHON" -m venv --clear "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
