#!/bin/sh
# Builds app.wasm. spin.toml names it; `towpath up` and `spin build` run it.
set -eu
if ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || ! command -v npm >/dev/null; then
  echo 'Node.js 20 or newer with npm is missing: https://nodejs.org has it' >&2
  exit 1
fi
# Beside a list that has changed, what was installed for the old one is no use.
if ! cmp -s package.json node_modules/.installed; then
  echo 'Installing what package.json names, once' >&2
  npm install --no-audit --no-fund >&2
  cp package.json node_modules/.installed
fi
# j2w looks at the first file alone to see whether something has changed, and ends with 0 where it fails.
rm -f app.wasm
node_modules/.bin/j2w --input app.js --output app.wasm >&2
test -s app.wasm
