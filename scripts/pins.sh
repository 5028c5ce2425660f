#!/bin/sh
# Resolve every extra in a fresh environment and write constraints.txt anew.
#     scripts/pins.sh [python3 [torch==2.13.0]]     the second argument pins torch, whose release is chosen and not drifted to
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}
torch=${2:-$(grep '^torch==' constraints.txt)}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check "$torch" hatchling editables
"$place/venv/bin/pip" install --quiet --disable-pip-version-check "$torch" --no-build-isolation -e '.[test,docs,dev,peers,faiss]'
{
    sed -n '/^#/p' constraints.txt
    # A local build tag such as +cpu names one machine's file; without it the pin holds everywhere.
    "$place/venv/bin/pip" freeze --exclude-editable | sed 's/^\(torch==[0-9.]*\)+.*/\1/' | LC_ALL=C sort -f
} >"$place/constraints.txt"
cp "$place/constraints.txt" constraints.txt
