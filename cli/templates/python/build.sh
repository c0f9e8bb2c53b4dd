#!/bin/sh
# Builds app.wasm. spin.toml names it; `towpath up` and `spin build` run it.
set -eu
if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo 'Python 3.10 or newer with venv is missing: `apt-get install python3 python3-venv` brings it' >&2
  exit 1
fi
# Beside a list that has changed, what was installed for the old one is no use.
if ! cmp -s requirements.txt .venv/installed; then
  echo 'Installing what requirements.txt names, once' >&2
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt >&2
  cp requirements.txt .venv/installed
fi
. .venv/bin/activate
componentize-py -w spin:up/http-trigger@4.1.0 componentize app -o app.wasm >&2
