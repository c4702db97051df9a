"""A state folder, the gateway that uses it, and the commands of its operator."""

import argparse

from tests.unit.tools_registry import credential, settings, upstream

from turnwise.tools_gateway import cli
from turnwise.tools_gateway.settings import Trust
from turnwise.tools_gateway.trust.audit import ToolAudit
from turnwise.tools_gateway.trust.kept_tools import KeptTools

FILE = """
[trust]
state_dir = "{state}"
[[upstreams]]
name = "a"
command = ["/bin/sh"]
[[upstreams]]
name = "b"
url = "https://b.example/mcp"
"""


class Place:
    """A state folder, a gateway that uses it, and the commands of an operator."""

    def __init__(self, folder, capsys):
        self.state = folder / "state"
        self.file = folder / "tools.toml"
        self.file.write_text(FILE.format(state=self.state))
        self.file.chmod(0o600)
        self._capsys = capsys
        told = settings(
            upstream("a", command=("/bin/sh",)),
            upstream("b", command=(), url="https://b.example/mcp"),
            trust=Trust(state_dir=str(self.state)),
        )
        self.audit = ToolAudit(told.trust, now=lambda: 1000.0)
        self.tools = KeptTools(told, credential, self.audit)

    def learn(self, upstream, definitions):
        """As the gateway does, and have it on disk."""
        is_changed = self.tools.learn(upstream, definitions)
        self.tools.write_last()
        return is_changed

    def turnwise(self, command, *arguments):
        """Exit status and what was printed."""
        parser = argparse.ArgumentParser()
        cli.add_commands(parser)
        args = parser.parse_args([command, "--config", str(self.file), *arguments])
        self._capsys.readouterr()
        status = args.run(args)
        said = self._capsys.readouterr()
        return status, said.out + said.err
