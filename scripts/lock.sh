#!/bin/sh
# Write constraints.txt anew: the newest allowed version of every package that fsserver, its tests and its checks need,
# with the public registry's hashes. Needs the network. No configuration of this machine takes part, no address is kept.
set -eu
cd "$(dirname "$0")/.."
uv_version=0.13.9

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m venv --without-pip "$work/venv"
.venv/bin/python -m pip --isolated --python "$work/venv/bin/python" install --quiet "uv==$uv_version"

{
    echo "# Every package that is installed and tested, for CPython 3.11 to 3.13 on Linux. Written by \`make lock\`."
    env -u UV_DEFAULT_INDEX -u UV_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
        "$work/venv/bin/uv" pip compile pyproject.toml --all-extras --group dev --group test --group lint \
        --universal --python-version 3.11 --generate-hashes --no-config --quiet \
        --no-header --no-emit-index-url --no-emit-find-links "$@"
} > "$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
chmod 644 constraints.txt
grep -c '==' constraints.txt | sed 's/$/ packages pinned in constraints.txt/'
