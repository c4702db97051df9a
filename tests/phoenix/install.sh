#!/usr/bin/env bash
# Installs Arize Phoenix into an environment of its own and prints that environment's folder.
# Usage: install.sh CACHE        (CACHE/phoenix-HASH is made once for each set of pinned versions)
#   PYTHON  interpreter to build on (default python3)
set -euo pipefail

cache=${1:?usage: install.sh CACHE}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("{}.{}-{}".format(*sys.version_info[:2], sys.platform))')
hash=$(printf '%s' "$version" | cat - "$here/requirements.txt" | sha256sum | cut -c 1-12)
folder=$cache/phoenix-$hash
mkdir -p "$folder"
if command -v flock >/dev/null; then # two runs at once must not build one folder
  exec 9>"$folder/install.lock"
  flock 9
fi

if [ ! -e "$folder/installed" ]; then # half of an environment is none, so the stamp comes last
  printf 'installing Phoenix into %s (once)\n' "$folder" >&2
  rm -rf "$folder/venv"
  "$python" -m venv "$folder/venv"
  "$folder/venv/bin/python" -m pip --disable-pip-version-check --no-input install -qq --no-deps --require-hashes -r "$here/requirements.txt" >&2
  touch "$folder/installed"
fi
printf '%s\n' "$folder"
