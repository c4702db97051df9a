"""opencode, the coding CLI, without a terminal: it keeps a list of what is to do and says so.

OPENCODE names the program (default: the one on the PATH). Home and project are temporary, so nothing of the user's is touched.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import errand

CONFIG = {
    "model": f"turnwise/{errand.MODEL}",
    "small_model": f"turnwise/{errand.MODEL}",  # writes the session's title
    "provider": {
        "turnwise": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{errand.BASE_URL}/v1", "apiKey": errand.API_KEY},
            "models": {errand.MODEL: {}},
        }
    },
    "tools": {"*": False, "todowrite": True},  # a tool that any arguments of the right shape will do for
    "permission": {"todowrite": "allow"},
    "autoupdate": False,
    "share": "disabled",
}
SWITCHES = {
    "OPENCODE_CONFIG_CONTENT": json.dumps(CONFIG),
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    "npm_config_offline": "true",  # else it installs its plugin library
}


def run(home, project):
    program = os.environ.get("OPENCODE", "opencode")
    places = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")}
    done = subprocess.run(
        [program, "run", "--format", "json", errand.GOAL],
        cwd=project,
        env=os.environ | SWITCHES | places | {"HOME": str(home), "PWD": str(project)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    parts = [event["part"] for event in map(json.loads, done.stdout.splitlines()) if "part" in event]
    for part in parts:
        if part["type"] == "tool" and part["state"]["status"] == "completed":
            errand.tool_runs += [todo["content"] for todo in part["state"]["metadata"]["todos"]]
    return "".join(part["text"] for part in parts if part["type"] == "text")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as project:
        errand.report(run(Path(home), Path(project)))
