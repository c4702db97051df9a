#!/usr/bin/env bash
# Fetches docker-compose and promtool, by which the tests check deploy/, into CACHE/deploy-tools, and prints that folder.
# Usage: tools.sh CACHE
# They are Debian packages of a release that knows Prometheus' newer settings, taken from the mirror that apt is configured with.
# Nothing is installed on the machine. Where that cannot be done it says why, ends well, and the tests say that they are left out.
set -euo pipefail

cache=${1:?usage: tools.sh CACHE}
release=trixie
packages=(docker-compose promtool)
folder=$cache/deploy-tools-$release
say() { printf '%s\n' "$*" >&2; }

fetch() {
  local state=$folder/apt mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v -- '-security' | head -n 1)
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$release" >"$state/sources.list"
  local options=(-qq -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$state/lists"
    -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=)
  apt-get "${options[@]}" update
  (cd "$state" && apt-get "${options[@]}" download "${packages[@]}")
  for package in "$state"/*.deb; do dpkg-deb --extract "$package" "$folder/root"; done
  mkdir -p "$folder/bin"
  rm -rf "$state"
  ln -sf ../root/usr/libexec/docker/cli-plugins/docker-compose ../root/usr/bin/promtool "$folder/bin/"
  "$folder/bin/docker-compose" version >/dev/null && "$folder/bin/promtool" --version >/dev/null 2>&1
}

if [ ! -e "$folder/fetched" ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "no apt here: docker-compose and promtool are left out"
    exit 0
  fi
  say "fetching docker-compose and promtool into $folder (once; 30 MB)"
  mkdir -p "$folder"
  if (fetch) >&2; then touch "$folder/fetched"; else
    say "docker-compose and promtool cannot be had: tests of deploy/ that need them are left out"
    exit 0
  fi
fi
printf '%s\n' "$folder/bin"
