#!/usr/bin/env bash
# Installs the agent clients, each set that agrees on its dependencies into an environment of its own, and prints the folder.
# Usage: install.sh CACHE        (CACHE/clients-HASH is made once for each set of pinned versions; about 850 MB, two minutes)
#   PYTHON  interpreter to build on (default python3)
set -euo pipefail

cache=${1:?usage: install.sh CACHE}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
pinned=("$here"/requirements*.txt "$here"/package*.json)

hash=$("$python" - "${pinned[@]}" <<'PYTHON'
import hashlib
import pathlib
import sys

digest = hashlib.sha256(repr((sys.version_info[:2], sys.platform)).encode())
for path in sys.argv[1:]:
    digest.update(pathlib.Path(path).read_bytes())
print(digest.hexdigest()[:12])
PYTHON
)
folder=$cache/clients-$hash
mkdir -p "$folder"
if command -v flock >/dev/null; then # two runs at once must not build one folder
  exec 9>"$folder/install.lock"
  flock 9
fi

say() { printf '%s\n' "$*" >&2; } # standard output is for the folder's name

# NAME COMMAND...: run the command once; half of an environment is none, so the stamp comes last.
once() {
  local name=$1
  shift
  if [ -e "$folder/$name.done" ]; then return; fi
  say "installing $name into $folder (once)"
  rm -rf "${folder:?}/$name"
  "$@" "$folder/$name" >&2 || { say "installing $name failed"; exit 1; }
  touch "$folder/$name.done"
}

python_clients() {
  "$python" -m venv "$2"
  "$2/bin/python" -m pip --disable-pip-version-check --no-input install -qq --require-hashes -r "$1"
}

node_clients() {
  mkdir -p "$1"
  cp "$here"/package*.json "$1"
  npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
}

once frameworks python_clients "$here/requirements.txt"
once litellm python_clients "$here/requirements-litellm.txt"
if ! command -v npm >/dev/null; then
  say "npm is missing, so the coding CLI is left out: install Node 20 or later for it"
elif [ "$(uname -sm)" != "Linux x86_64" ]; then
  say "the pinned build of the coding CLI is for Linux on x86-64, so it is left out here"
else
  once cli node_clients
fi
printf '%s\n' "$folder"
