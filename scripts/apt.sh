#!/bin/sh
# Install Debian packages where that needs no question: as root, or with passwordless sudo. Otherwise fail without a word;
# the caller says in one line what happens instead.
command -v apt-get >/dev/null || exit 1
if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n env"
else
    exit 1
fi
echo "Installing $* with apt-get ..."
exec </dev/null
$as_root DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null 2>&1 # a stale list may still do
$as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1
