"""Compiles the library that counts memory, and gives the environment in which it does."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("counter.c")
# Without -fno-builtin the compiler makes the library's bcopy the memmove that it stands in front of.
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fno-builtin", "-fvisibility=hidden")


class LibraryError(Exception):
    """The library cannot be had on this machine."""


def compile_library(folder: Path) -> Path:
    """Compile `counter.c` into `folder`, unless that was done; raises `LibraryError` where it cannot be."""
    if platform.libc_ver()[0] != "glibc":
        raise LibraryError("memory is counted in front of glibc, and this Python runs on another C library")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise LibraryError("no C compiler; on Debian and Ubuntu: apt-get install gcc libc6-dev")
    digest = hashlib.sha256(" ".join((compiler, *FLAGS)).encode() + SOURCE.read_bytes()).hexdigest()[:12]
    library = folder / f"counter-{digest}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        half = library.with_suffix(f".{os.getpid()}")
        done = subprocess.run([compiler, *FLAGS, "-o", half, SOURCE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LibraryError(f"counter.c does not compile (it needs gcc and libc6-dev):\n{done.stderr}")
        half.rename(library)
    return library


def environment(library: Path) -> dict[str, str]:
    """The environment of a process that counts: all of Python's memory is asked of the C library, and sets have one order."""
    return {**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
