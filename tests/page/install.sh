#!/usr/bin/env bash
# Finds a Chromium, or fetches Debian's into the cache folder, unpacked and not installed, and prints the program to start.
# Usage: install.sh CACHE        (CACHE/chromium is made once; 400 MB, one minute; needs no root)
#   CHROMIUM  program to take instead
set -euo pipefail

cache=${1:?usage: install.sh CACHE}
folder=$cache/chromium
say() { printf '%s\n' "$*" >&2; } # standard output is for the program's name

for known in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
  if [ -n "$known" ] && command -v "$known"; then exit; fi
done
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  say "no Chromium is installed, and this is no Debian to fetch one from: install it, or name one in CHROMIUM"
  exit 1
fi
mkdir -p "$folder"
if command -v flock >/dev/null; then # two runs at once must not build one folder
  exec 9>"$folder/install.lock"
  flock 9
fi

if [ ! -e "$folder/start" ]; then
  say "fetching Chromium into $folder (once)"
  rm -rf "$folder/root" "$folder/debs" "$folder/apt"
  mkdir -p "$folder/root" "$folder/debs" "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
  # Lists of our own, so that neither root nor a machine that lists are kept on is needed.
  apt=(apt-get -qq -o Dir::State::lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" -o APT::Sandbox::User=)
  "${apt[@]}" update >&2
  # The system's own status, so that only what is missing here is fetched.
  missing=$("${apt[@]}" --simulate --no-install-recommends install chromium fonts-dejavu-core | awk '$1 == "Inst" {print $2}')
  # shellcheck disable=SC2086 - the words are package names
  (cd "$folder/debs" && "${apt[@]}" download $missing >&2)
  for deb in "$folder"/debs/*.deb; do dpkg-deb --extract "$deb" "$folder/root"; done
  rm -rf "$folder/debs" "$folder/apt"
  libraries=$(find "$folder/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd: -)
  cat >"$folder/start.new" <<START
#!/bin/sh
# Debian's Chromium with the libraries and fonts that were fetched beside it.
export LD_LIBRARY_PATH="$libraries"
export XDG_DATA_DIRS="$folder/root/usr/share:/usr/local/share:/usr/share"
exec "$folder/root/usr/lib/chromium/chromium" "\$@"
START
  chmod +x "$folder/start.new"
  mv "$folder/start.new" "$folder/start" # last, so that half of an installation is none
fi
printf '%s\n' "$folder/start"
