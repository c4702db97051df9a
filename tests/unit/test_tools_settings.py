import re
from pathlib import Path

import pytest

from turnwise import settings_sources as proxy_sources
from turnwise.binding import is_loopback
from turnwise.errors import SettingsError
from turnwise.tools_gateway.settings import Settings
from turnwise.tools_gateway.settings_checks import warnings
from turnwise.tools_gateway.settings_sources import describe, load
from turnwise.tools_gateway.unpinned import unpinned_package

ROOT = Path(__file__).parents[2]
STDIO = '[[upstreams]]\nname = "a"\ncommand = ["/bin/a"]\n'
WEB = '[[upstreams]]\nname = "b"\nurl = "https://b.example/mcp"\n'
TOKEN = "ab" * 32


def load_from(tmp_path, toml, environ=None, overrides=()):
    file = tmp_path / "tools.toml"
    file.write_text(toml)
    return load(file, environ or {}, overrides)


def refusal(tmp_path, toml, **kwargs) -> str:
    with pytest.raises(SettingsError) as caught:
        load_from(tmp_path, toml, **kwargs)
    return caught.value.message


def test_without_a_file_the_defaults_hold():
    assert load(None, {}) == Settings()


def test_a_file_is_read_into_the_tree_with_what_is_said_of_tools(tmp_path):
    settings = load_from(tmp_path, STDIO + "[upstreams.tools.now]\nread_only = true\nttl_s = 3\n" + WEB)
    first, second = settings.upstreams
    assert (first.name, first.command, first.tools["now"].ttl_s) == ("a", ("/bin/a",), 3.0)
    assert (second.url, second.prefix, second.tools) == ("https://b.example/mcp", None, {})


def test_the_environment_and_set_win_over_the_file(tmp_path):
    environ = {"TURNWISE_TOOLS_FRONT__PORT": "2", "TURNWISE_TOOLS_FRONT__ADMIN_PORT": "2"}
    settings = load_from(tmp_path, "[front]\nport = 1\nadmin_port = 1\n", environ=environ, overrides=["front.port=3"])
    assert (settings.front.port, settings.front.admin_port) == (3, 2)


def test_the_proxys_variables_and_the_gateways_are_told_apart():
    assert load(None, {"TURNWISE_TOOLS__SOCKET": "/a", "TURNWISE_SERVER__PORT": "1"}) == Settings()
    loaded = proxy_sources.load(file=None, environ={"TURNWISE_TOOLS_FRONT__PORT": "1"}, overrides=(), flags={})
    assert set(loaded.sources.values()) == {"default"}
    with pytest.raises(SettingsError, match=r"TURNWISE_TOOLS_FRONT__PROT: .* did you mean `TURNWISE_TOOLS_FRONT__PORT`"):
        load(None, {"TURNWISE_TOOLS_FRONT__PROT": "1"})


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("[frnt]\nport = 1", ("no setting `frnt`", "did you mean `front`?")),
        ('[front]\nport = "1"', ("`front.port`: expected `int`, got '1'",)),
        ("[front]\nport = 70000", ("`front.port`", "<= 65535")),
        ("[limits]\nclaim_ttl_s = inf", ("`limits.claim_ttl_s`: must be finite",)),
        ("upstreams = 3", ("`upstreams` is a list of tables: write [[upstreams]]",)),
        ("upstreams = [3]", ("`upstreams[0]` must be a table",)),
        ('[[upstreams]]\ncommand = ["/a"]', ("`upstreams[0]`: `name` is missing",)),
        (STDIO + "comand = 1", ("`upstreams[0]` has no `comand`; did you mean `command`?",)),
        ('[[upstreams]]\nname = "A b"\ncommand = ["/a"]', ("`upstreams[0].name`", "matching regex")),
        (STDIO + "deadline_s = 0", ("`upstreams[0].deadline_s`", "> 0")),
        (STDIO + 'era = "2020"', ("`upstreams[0].era`: must be one of auto, 2026-07-28, 2025-11-25, got '2020'",)),
        (STDIO + "tools = 3", ("`upstreams[0].tools` is a table: write [upstreams[0].tools.NAME]",)),
        (
            STDIO + "[upstreams.tools.x]\nreadonly = true",
            ("`upstreams[0].tools.x` has no `readonly`; did you mean `read_only`?",),
        ),
        (STDIO + "[upstreams.tools.x]\ndeadline_s = 0", ("`upstreams[0].tools.x.deadline_s`", "> 0")),
        ("[auth]\nscopes = 3", ("`auth.scopes`",)),
    ],
)
def test_a_key_or_value_that_the_tree_does_not_allow_is_refused_by_name(tmp_path, toml, parts):
    message = refusal(tmp_path, toml)
    assert message.startswith(f"{tmp_path / 'tools.toml'}: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("upstreams=x", "write [[upstreams]] in the file"),
        ("auth.scopes=x", "write [auth.scopes] in the file"),
        ("front=1", "is a section"),
    ],
)
def test_lists_of_tables_and_tables_come_from_the_file_alone(override, part):
    with pytest.raises(SettingsError, match=re.escape(part)):
        load(None, {}, [override])


@pytest.mark.parametrize(
    ("toml", "key", "part"),
    [
        ('[[upstreams]]\nname = "a"', "upstreams[0]", "a needs either `command` or `url`"),
        (STDIO + 'url = "https://a/mcp"', "upstreams[0]", "not both"),
        ('[[upstreams]]\nname = "a"\ncommand = ["a"]', "upstreams[0].command", "absolute path, got 'a'"),
        ('[[upstreams]]\nname = "a"\ncommand = ["/a", "x\\u0000y"]', "upstreams[0].command", "NUL"),
        (STDIO + 'bearer_env = "X"', "upstreams[0].bearer_env", "is for a `url`"),
        (WEB + 'env = {A = "1"}', "upstreams[0].env", "is for a `command`"),
        (WEB + 'headers = {"a b" = "1"}', "upstreams[0].headers", "no name of a field"),
        (WEB + 'headers = {a = "1\\r\\nb: 2"}', "upstreams[0].headers", "one line"),
        ('[[upstreams]]\nname = "a"\nurl = "http://b.example/mcp"', "upstreams[0].url", "must be https"),
        ('[[upstreams]]\nname = "a"\nurl = "ftp://b.example/mcp"', "upstreams[0].url", "must be https"),
        ('[[upstreams]]\nname = "a"\nurl = "https://b:x/"', "upstreams[0].url", "Port"),
        ('[[upstreams]]\nname = "a"\nurl = "https://u:p@b/"', "upstreams[0].url", "user or password"),
        (WEB.replace("https://b.example", "http://127.0.0.1:8"), "upstreams[0].url", "`allow_private` is not set"),
        (WEB.replace("https://b.example", "http://localhost:8"), "upstreams[0].url", "localhost is refused: it is private"),
        (WEB.replace("b.example", "10.0.0.1"), "upstreams[0].url", "10.0.0.1 is refused: it is private"),
        (WEB.replace("b.example", "127.1"), "upstreams[0].url", "must be written in full"),
        (WEB.replace("b.example", "169.254.169.254") + "allow_private = true", "upstreams[0].url", "metadata"),
        (STDIO + STDIO, "upstreams", "two upstreams are named a"),
        (STDIO + WEB + 'prefix = "a__"', "upstreams[0].prefix", "a__ also begins a__, the prefix of another"),
        (STDIO + WEB + 'prefix = "a__b"', "upstreams[0].prefix", "a__ also begins a__b"),
        (STDIO + WEB + 'prefix = ""', "upstreams[1].prefix", "no other upstream"),
        (STDIO + 'prefix = "a.b"', "upstreams[0].prefix", "A-Z a-z 0-9 _ -"),
        (STDIO + "[upstreams.tools.x]\nearly = true", "upstreams[0].tools.x.early", "needs `read_only`"),
        (
            STDIO + "[upstreams.tools.x]\nearly = true\nread_only = true\ndeadline_s = 1",
            "upstreams[0].tools.x.early",
            "`idempotent`",
        ),
        (
            STDIO + "[upstreams.tools.x]\nearly = true\nread_only = true\nidempotent = true",
            "upstreams[0].tools.x.early",
            "needs `deadline_s`",
        ),
        (STDIO + "[upstreams.tools.x]\nshared = true", "upstreams[0].tools.x.shared", "needs `read_only`"),
        (STDIO + "[upstreams.tools.x]\nttl_s = 1", "upstreams[0].tools.x.ttl_s", "needs `read_only`"),
        ('[front]\nhost = "0.0.0.0"', "front.host", "[[tenants]] with `token_sha256`, or [auth]"),
        ('[[tenants]]\nname = "t"\ntoken_sha256 = ["x"]', "tenants[0].token_sha256", "64 lower-case hex digits"),
        ('[[tenants]]\nname = "t"\n[[tenants]]\nname = "t"', "tenants", "two tenants are named t"),
        (
            f'[[tenants]]\nname = "t"\ntoken_sha256 = ["{TOKEN}"]\n[[tenants]]\nname = "u"\ntoken_sha256 = ["{TOKEN}"]',
            "tenants",
            "two tenants have the token",
        ),
        (
            '[[tenants]]\nname = "t"\nproxy_tenants = ["p"]\n[[tenants]]\nname = "u"\nproxy_tenants = ["p"]',
            "tenants",
            "two tenants are the proxy's p",
        ),
        (WEB + '[[tenants]]\nname = "t"\nbearer_env = {c = "X"}', "tenants[0].bearer_env", "no upstream `c`"),
        (
            STDIO + '[[tenants]]\nname = "t"\nbearer_env = {a = "X"}',
            "tenants[0].bearer_env",
            "a is a program, which is shown no token",
        ),
        (
            WEB + 'shared = true\n[[tenants]]\nname = "t"\nbearer_env = {b = "X"}',
            "tenants[0].bearer_env",
            "share the sessions of b",
        ),
        ('[auth]\nissuer = "https://i"\njwks_file = "/k"', "auth.audience", "is missing"),
        ('aliases = ["mcp__turnwise__"]', "aliases[0]", "must hold {tool} once"),
        (
            '[trust]\nstrict = true\n[[upstreams]]\nname = "a"\ncommand = ["/usr/bin/npx", "-y", "server"]',
            "upstreams[0].command",
            "server is fetched without a version",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_by_key(tmp_path, toml, key, part):
    message = refusal(tmp_path, toml)
    assert message.startswith(f"{tmp_path / 'tools.toml'}: `{key}`: "), message
    assert part in message


def test_a_token_written_in_place_of_its_digest_is_not_repeated(tmp_path):
    assert "hunter2" not in refusal(tmp_path, '[[tenants]]\nname = "t"\ntoken_sha256 = ["hunter2"]')


def test_what_the_environment_set_is_refused_in_its_name(tmp_path):
    message = refusal(tmp_path, "", environ={"TURNWISE_TOOLS_FRONT__HOST": "0.0.0.0"})
    assert message.startswith("TURNWISE_TOOLS_FRONT__HOST: `front.host`: ")


@pytest.mark.parametrize(
    "toml",
    [
        f'[front]\nhost = "0.0.0.0"\n[[tenants]]\nname = "t"\ntoken_sha256 = ["{TOKEN}"]',
        '[front]\nhost = "::"\n[auth]\nissuer = "https://i"\naudience = "https://g"\njwks_file = "/k"',
        STDIO + 'prefix = ""',
        '[[upstreams]]\nname = "a"\nurl = "http://[::1]:3/mcp"\nallow_private = true',
        STDIO + "[upstreams.tools.x]\nearly = true\nread_only = true\nidempotent = true\ndeadline_s = 1",
    ],
)
def test_what_goes_together_is_taken(tmp_path, toml):
    assert load_from(tmp_path, toml)


def test_what_is_unwise_is_warned_of(tmp_path):
    toml = (
        '[front]\nadmin_host = "0.0.0.0"\n'
        '[[upstreams]]\nname = "a"\ncommand = ["/usr/bin/uvx", "server"]\nenv_from = ["A", "B"]\n'
        '[[upstreams]]\nname = "b"\nurl = "https://b/"\nbearer_env = "C"\ntrusted = true\n'
        '[[tenants]]\nname = "t"\nbearer_env = {b = "D"}'
    )
    found = warnings(load_from(tmp_path, toml), {"B": "1"})
    assert [warning.partition(":")[0] for warning in found] == [
        "upstreams[0].command",
        "upstreams[0]",
        "upstreams[0]",
        "upstreams[1]",
        "upstreams[1].trusted",
        "tenants[0]",
        "tenants[0].bearer_env",
        "front.admin_host",
    ]
    assert "has no A" in found[1]
    assert "trust.state_dir" in found[2]
    assert warnings(Settings(), {}) == []


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("/usr/bin/npx -y server", "server"),
        ("/usr/bin/npx -y @scope/server@latest", "@scope/server@latest"),
        ("/usr/bin/npx server@^1.2.3", "server@^1.2.3"),
        ("/usr/bin/npx --package server other", "server"),
        ("/usr/bin/npm exec -- server", "server"),
        ("/usr/bin/uvx server", "server"),
        ("/usr/bin/uvx --from server>=1 run", "server>=1"),
        ("/usr/bin/uvx --with extra server==1", "extra"),
        ("/usr/bin/uv tool run server", "server"),
        ("/usr/bin/pipx run server", "server"),
        ("/usr/bin/npx -y @scope/server@1.2.3 --flag", ""),
        ("/usr/bin/npx --package=server@1.0.0 other", ""),
        ("/usr/bin/npx ./server", ""),
        ("/usr/bin/uvx server==2026.10.1", ""),
        ("/usr/bin/uvx --python 3.12 --from server==1 run", ""),
        ("/usr/bin/uv run server", ""),
        ("/usr/bin/npx", ""),
        ("/usr/bin/python -m server", ""),
    ],
)
def test_a_package_that_is_fetched_without_a_version_is_found(command, package):
    assert unpinned_package(command.split()) == package


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.2", True), ("::1", True), ("[::1]", True), ("localhost", True)])
def test_loopback_is_told_by_name_or_number(host, expected):
    assert is_loopback(host) is expected
    assert not is_loopback(f"{host}.example.com")


def test_every_setting_of_the_gateway_is_described():
    docs = {doc.key: doc for doc in describe()}
    assert all(doc.sentence.endswith(".") and doc.type for doc in docs.values())
    assert docs["upstreams"].type == "list of upstreams"
    assert docs["upstreams[].tools.NAME.deadline_s"].range == "above 0"
    assert docs["tenants[].bearer_env"].type == "table of strings"


def test_the_example_of_the_paper_is_taken(tmp_path):
    paper = (ROOT / "docs/tools-settings.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", paper, re.DOTALL)
    assert [upstream.name for upstream in load_from(tmp_path, example).upstreams] == ["time", "tracker"]
