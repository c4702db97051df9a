"""Ctrl-C at every stage of a command's start ends it without a word, and with the status of Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTERRUPTED = 130

PRESS = """
import os, runpy, signal, sys

class Press:
    def find_spec(self, name, path, target=None):
        if name == WHERE:
            os.kill(os.getpid(), signal.SIGINT)

_, WHERE, *words = sys.argv
sys.meta_path.insert(0, Press())
sys.argv[1:] = words
runpy.run_module("turnwise.proxy", run_name="__main__", alter_sys=True)
"""
"""Runs `python -m turnwise.proxy` and presses Ctrl-C when it comes to read a module."""

SERVE = ["serve", "--replica", "http://127.0.0.1:1", "--port", "0", "--admin-port", "0"]
TOOLS = """
[front]
port = 0
admin_port = 0
[trust]
state_dir = "state"
[[upstreams]]
name = "one"
url = "http://127.0.0.1:1/mcp"
allow_private = true
"""
COMMANDS = [
    ["demo"],
    SERVE,
    ["programs"],
    ["replay", "--help"],
    ["tools", "serve", "--config", "tools.toml"],
    ["tools", "approve", "--config", "tools.toml"],
    ["tools", "list", "--config", "tools.toml"],
    ["tools", "check", "--config", "tools.toml"],
    ["tools", "top"],
]


def pressed(folder, where, words, *, ignored=False):
    (folder / "tools.toml").write_text(TOOLS)
    return subprocess.run(
        [sys.executable, "-c", PRESS, where, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_while_the_modules_of_all_commands_are_read(tmp_path, words):
    done = pressed(tmp_path, "msgspec", words)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("turnwise.proxy.demo.show", ["demo"]),
        ("turnwise.tools_gateway.server.app", ["tools", "serve", "--config", "tools.toml"]),
        ("turnwise.tools_gateway.registry.pending", ["tools", "approve", "--config", "tools.toml"]),
        ("turnwise.tools_gateway.registry.access", ["tools", "list", "--config", "tools.toml"]),
        ("turnwise.tools_gateway.trust.tokens", ["tools", "check", "--config", "tools.toml"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_while_those_of_one_are(tmp_path, where, words):
    done = pressed(tmp_path, where, words)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")


def test_where_it_is_ignored_it_stays_so(tmp_path):
    done = pressed(tmp_path, "msgspec", ["--version"], ignored=True)
    assert done.returncode == os.EX_OK
    assert done.stdout.startswith("turnwise ")
