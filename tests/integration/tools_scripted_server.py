"""A tool server over stdio that breaks in ways in which no SDK lets one break. Argument: its revision."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

MODERN = sys.argv[1:] != ["2025-11-25"]
TOOL_NAMES = ("echo", "surroundings")


BEGAN_WITH = os.sched_getscheduler(0)


def say(message):
    os.write(1, json.dumps(message).encode() + b"\n")


def answer(number, result):
    say({"jsonrpc": "2.0", "id": number, "result": result})


def surroundings():
    return {
        "environment": dict(os.environ),
        "descriptors": [entry.name for entry in Path("/proc/self/fd").iterdir() if entry.exists()],
        "folder": str(Path.cwd()),
        "leads_group": os.getpgrp() == os.getpid(),
        "began_with": BEGAN_WITH,
        "pid": os.getpid(),
    }


def call(number, name, arguments):
    if name == "echo":
        answer(number, arguments)
    elif name == "surroundings":
        answer(number, surroundings())
    elif name == "crash":
        os._exit(3)
    elif name == "child":
        child = subprocess.Popen(["/bin/sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        answer(number, {"pid": child.pid})
    elif name == "hang":
        time.sleep(600)
    elif name == "large":
        os.write(1, b'{"jsonrpc":"2.0","id":%d,"result":{"text":"' % number)
        for _ in range(arguments["megabytes"]):
            os.write(1, b"x" * 1_000_000)
        os.write(1, b'"}}\n')
    elif name == "noise":
        os.write(1, b"\xff\xfe\x00not a word of MCP\n[1]\n\n{}\n" + b'{"jsonrpc":"2.0","id":77,"result":{}}\n')
        answer(number, arguments)
    elif name == "flood":
        while True:
            os.write(1, b"\xff\x00 not a word of MCP\n" * 1000)
    elif name == "spell":
        for byte in json.dumps({"jsonrpc": "2.0", "id": number, "result": arguments}).encode() + b"\n":
            os.write(1, bytes([byte]))
    elif name == "last":
        os.write(1, b"\n" * 70_000)  # more than a pipe holds, so some was read, and is weighed, before the rest is written
        answer(number, arguments)
        os._exit(0)
    elif name == "complain":
        os.write(2, arguments["text"].encode() + b"\n")
        answer(number, {})


def main():
    for line in sys.stdin:
        message = json.loads(line)
        number, method, params = message.get("id"), message["method"], message.get("params", {})
        if method == "server/discover" and MODERN:
            answer(number, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
        elif method == "initialize" and not MODERN:
            answer(number, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}})
        elif method == "tools/list":
            answer(number, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOL_NAMES]})
        elif method == "ping":
            answer(number, {})
        elif method == "tools/call":
            call(number, params["name"], params.get("arguments", {}))
        elif number is not None:
            say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})


main()
