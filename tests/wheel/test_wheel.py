"""The wheel, built without network and run where the tree cannot be seen."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("proxy", "index", "engines", "tools_gateway")
PARTS = ("pyproject.toml", "README.md", "LICENSE", "src", *ROOMS)
TOP_LEVEL = re.compile(r"^turnwise(-[^/]+\.dist-info)?$")


def run(*command, cwd, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TURNWISE_", "COVERAGE"))}
    done = subprocess.run(
        command, cwd=cwd, env=clean | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools packs whatever an older build left in the tree's own build folder."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "tree"
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / part, copy)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(copy), cwd=folder)
    shutil.rmtree(copy)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    """The wheel alone in a folder; its dependencies are those of this environment, without the links of an editable install."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--target", str(folder), str(wheel), cwd=folder)
    return folder


@pytest.fixture
def run_installed(unpacked, tmp_path):
    site_packages = next(path for path in sys.path if path.endswith("site-packages"))

    def run_it(*arguments):
        # -S leaves out site-packages and with it the .pth file of the editable install; both paths are then given by name.
        paths = os.pathsep.join((str(unpacked), site_packages))
        return run(sys.executable, "-S", *arguments, cwd=tmp_path, PYTHONPATH=paths)

    return run_it


def test_the_wheel_holds_one_top_level_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert all(TOP_LEVEL.match(top) for top in tops), tops


def test_the_wheel_holds_every_module_and_data_file_of_the_tree(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    wanted = {
        f"turnwise/{prefix}{path.relative_to(folder)}"
        for folder, prefix in ((ROOT / "src/turnwise", ""), *((ROOT / room, f"{room}/") for room in ROOMS))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "turnwise/py.typed" in wanted
    assert wanted <= packed, sorted(wanted - packed)


def test_every_room_is_imported_from_the_wheel(run_installed, unpacked):
    names = ("turnwise", "turnwise.proxy", "turnwise.index", "turnwise.engines.sim", "turnwise.tools_gateway")
    printed = run_installed("-c", f"import {', '.join(names)}, sys; [print(sys.modules[n].__file__) for n in {names!r}]")
    assert [Path(line).is_relative_to(unpacked / "turnwise") for line in printed.splitlines()] == [True] * len(names)


@pytest.mark.parametrize("command", ["serve", "sim", "demo", "config", "doctor", "programs", "program", None])
def test_the_command_explains_itself_outside_the_tree(run_installed, command):
    printed = run_installed("-m", "turnwise.proxy", *filter(None, (command, "--help")))
    assert "usage: turnwise" in printed
