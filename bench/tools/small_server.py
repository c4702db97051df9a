"""The least that is a tool server over stdio; it starts a program of its own, which must not outlive it."""

import json
import subprocess
import sys

subprocess.Popen(["/bin/sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "server/discover":
        result: dict[str, object] = {"supportedVersions": ["2026-07-28"], "capabilities": {}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
