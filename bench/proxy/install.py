"""Makes what a run needs in the cache folder: the two C programs, and an environment for each peer that comes as a wheel."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import msgspec
from bench.proxy.processes import missing_tools, tool_path

HERE = Path(__file__).parent
LOCKS = HERE / "locks"
CFLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")


class InstallError(Exception):
    """What a run cannot do without is missing."""


class Installed(msgspec.Struct, frozen=True):
    """Where things are: the two programs, nginx, and the environment of each peer, or why there is none."""

    load: Path
    replica: Path
    nginx: str
    environments: dict[str, Path]
    missing: dict[str, str]


def install(cache: Path, peers: Sequence[str]) -> Installed:
    """Compile and install what is not there yet; raises `InstallError` where a program of the system is missing.

    A peer that cannot be installed here, as there is no wheel for the machine, is told and left out.
    """
    if packages := missing_tools():
        raise InstallError(f"missing on this machine; on Debian and Ubuntu: apt-get install {' '.join(packages)}")
    cache.mkdir(parents=True, exist_ok=True)
    tools = compile_tools(cache)
    environments: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for peer in peers:
        try:
            environments[peer] = _environment(cache, peer)
        except subprocess.CalledProcessError as error:
            missing[peer] = f"cannot be installed: {_last_line(error.stderr)}"
            say(f"{peer} {missing[peer]}")
    nginx = shutil.which("nginx", path=tool_path())
    assert nginx is not None
    return Installed(load=tools / "load", replica=tools / "replica", nginx=nginx, environments=environments, missing=missing)


def say(what: str) -> None:
    """Tell whoever runs this how far it is."""
    print(what, file=sys.stderr, flush=True)


def compile_tools(cache: Path, flags: Sequence[str] = CFLAGS) -> Path:
    """Compile `load` and `replica`, unless that was done; gives their folder. Raises `InstallError` as the compiler says."""
    sources = [HERE / name for name in ("load.c", "answer.h", "conversations.h", "replica.c", "wire.h")]
    folder = cache / f"bench-tools-{_digest(sources, platform.machine(), *flags)}"
    for program in ("load", "replica"):
        if not (folder / program).exists():
            folder.mkdir(exist_ok=True)
            half = folder / f"{program}.{os.getpid()}"
            done = subprocess.run(
                ["cc", *flags, "-o", half, HERE / f"{program}.c"], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise InstallError(f"{program}.c does not compile:\n{done.stderr}")
            half.rename(folder / program)
    return folder


def _environment(cache: Path, peer: str) -> Path:
    lock = LOCKS / f"{peer}.txt"
    folder = cache / f"bench-{peer}-{_digest([lock], platform.machine(), *map(str, sys.version_info[:2]))}"
    stamp = folder / "installed"
    if not stamp.exists():  # half of an environment is none, so the stamp comes last
        say(f"installing {peer} into {folder} (once)")
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-qq"]
        subprocess.run(
            [*pip, "--only-binary", ":all:", "--require-hashes", "-r", lock], check=True, capture_output=True, text=True
        )
        stamp.touch()
    return folder


def _digest(paths: Sequence[Path], *also: str) -> str:
    digest = hashlib.sha256(" ".join(also).encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason was given"
