import tomllib
from pathlib import Path

import pytest

from turnwise.errors import SettingsError
from turnwise.settings import Replica, Settings
from turnwise.settings_sources import LoadedSettings, as_toml_with_sources, describe, load


def load_from(tmp_path: Path | None = None, toml: str | None = None, environ=None, overrides=(), flags=None) -> LoadedSettings:
    file = None
    if toml is not None:
        assert tmp_path is not None
        file = tmp_path / "turnwise.toml"
        file.write_text(toml)
    return load(file=file, environ=environ or {}, overrides=overrides, flags=flags or {})


def refusal(*args, **kwargs) -> str:
    with pytest.raises(SettingsError) as caught:
        load_from(*args, **kwargs)
    return caught.value.message


def test_without_sources_the_defaults_hold_and_say_so():
    loaded = load_from()
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert {"replicas", "server.port", "edits.include_usage"} <= set(loaded.sources)


def test_each_source_wins_over_the_ones_before(tmp_path):
    toml = "[server]\nport = 1\nadmin_port = 2\nmax_head_bytes = 2000\nhead_timeout_s = 3"
    loaded = load_from(
        tmp_path,
        toml,
        environ={"TURNWISE_SERVER__PORT": "11", "TURNWISE_SERVER__ADMIN_PORT": "12", "TURNWISE_SERVER__MAX_HEAD_BYTES": "3000"},
        overrides=["server.port=21", "server.admin_port=22"],
        flags={"--port": ("server.port", 31), "--host": ("server.host", None)},
    )
    server = loaded.settings.server
    assert (server.port, server.admin_port, server.max_head_bytes, server.head_timeout_s) == (31, 22, 3000, 3.0)
    assert loaded.sources["server.port"] == "--port"
    assert loaded.sources["server.admin_port"] == "--set"
    assert loaded.sources["server.max_head_bytes"] == "TURNWISE_SERVER__MAX_HEAD_BYTES"
    assert loaded.sources["server.head_timeout_s"] == str(tmp_path / "turnwise.toml")
    assert loaded.sources["server.host"] == "default"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("edits.include_usage=false", lambda s: s.edits.include_usage is False),
        ("edits.debug_header=true", lambda s: s.edits.debug_header is True),
        ("policy.name=round_robin", lambda s: s.policy.name == "round_robin"),
        ("policy.miss_weight=2", lambda s: s.policy.miss_weight == 2.0),
        ("surface.allow_paths=/a, /b,", lambda s: s.surface.allow_paths == ("/a", "/b")),
        ("surface.allow_paths=", lambda s: s.surface.allow_paths == ()),
        ("server.host=0.0.0.0", lambda s: s.server.host == "0.0.0.0"),
    ],
)
def test_texts_become_values_of_the_settings_type(override, read):
    assert read(load_from(overrides=[override]).settings)


def test_toml_values_are_typed_strictly(tmp_path):
    message = refusal(tmp_path, '[server]\nport = "8080"')
    assert message == f"{tmp_path / 'turnwise.toml'}: `server.port`: expected `int`, got '8080'"
    assert "`edits.request_id`" in refusal(tmp_path, "[edits]\nrequest_id = 1")
    assert "`surface.allow_paths`" in refusal(tmp_path, '[surface]\nallow_paths = "/a,/b"')


def test_a_value_that_is_none_of_the_allowed_ones_is_answered_with_all_of_them():
    message = refusal(overrides=["policy.name=kv"])
    assert message.startswith("--set: `policy.name`: must be one of kv_aware, ")
    assert message.endswith("round_robin, got 'kv'")


@pytest.mark.parametrize("path", ["sleep", "", "/x?y=1", "/x#y"])
def test_a_path_that_no_request_can_have_is_not_allowed(path):
    assert "`surface.allow_paths`" in refusal(flags={"--allow-path": ("surface.allow_paths", [path])})


@pytest.mark.parametrize(
    ("kwargs", "parts"),
    [
        ({"overrides": ["server.prot=1"]}, ("--set", "`server.prot`", "did you mean `server.port`?")),
        ({"overrides": ["nonsense=1"]}, ("--set", "`nonsense`")),
        ({"overrides": ["server=1"]}, ("--set", "`server` is a section", "name a key in it")),
        ({"overrides": ["server.port"]}, ("--set server.port", "section.key=value")),
        ({"overrides": ["server.port=70000"]}, ("--set", "`server.port`", "<= 65535", "'70000'")),
        ({"overrides": ["server.head_timeout_s=inf"]}, ("--set", "`server.head_timeout_s`", "finite")),
        ({"overrides": ["server.head_timeout_s=nan"]}, ("--set", "`server.head_timeout_s`")),
        ({"overrides": ["policy.name=fastest"]}, ("--set", "`policy.name`", "'fastest'")),
        ({"overrides": ["edits.request_id=maybe"]}, ("--set", "`edits.request_id`")),
        (
            {"overrides": ["traces.endpoint=foo"]},
            ("--set", "`traces.endpoint`", "(OTLP endpoint, `http://host:4318`, ", "'foo'"),
        ),
        ({"environ": {"TURNWISE_SERVER__PROT": "1"}}, ("TURNWISE_SERVER__PROT", "did you mean `TURNWISE_SERVER__PORT`?")),
        ({"environ": {"TURNWISE_SERVER__PORT": "x"}}, ("TURNWISE_SERVER__PORT", "`server.port`", "'x'")),
        ({"flags": {"--port": ("server.port", 1.5)}}, ("--port: ", "`server.port`")),
    ],
)
def test_a_wrong_value_or_key_names_its_source_and_what_was_meant(kwargs, parts):
    message = refusal(**kwargs)
    for part in parts:
        assert part in message


def test_variables_of_others_are_left_alone():
    environ = {
        "PATH": "/bin",
        "TURNWISE_CONFIG": "x",
        "TURNWISE_PORT": "tcp://10.0.0.1:8080",
        "TURNWISE_TORCH_INDEX": "http://a",
    }
    assert load_from(environ=environ).settings == Settings()


def test_two_replicas_cannot_share_a_url():
    with pytest.raises(SettingsError, match="two replicas are at http://a:1"):
        load(file=None, environ={}, overrides=(), flags={"--replica": ("replicas", ["x=http://a:1", "y=http://a:1/"])})


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError, match=r"missing\.toml: cannot be read: No such file"):
        load(file=missing, environ={}, overrides=(), flags={})
    assert "turnwise.toml: is not valid TOML" in refusal(tmp_path, "server = [")


def test_bytes_that_are_not_utf8_are_no_valid_file(tmp_path):
    file = tmp_path / "latin.toml"
    file.write_bytes(b"# caf\xe9\n")
    with pytest.raises(SettingsError, match=r"latin\.toml: is not valid TOML"):
        load(file=file, environ={}, overrides=(), flags={})


def test_a_section_written_as_a_value_says_how_to_write_it(tmp_path):
    assert "write [server]" in refusal(tmp_path, "server = 3")
    assert "no setting `sever`; did you mean `server`?" in refusal(tmp_path, "[sever]\nport = 1")


def test_replicas_are_read_from_tables_texts_and_flags(tmp_path):
    toml = '[[replicas]]\nurl = "http://a:8000"\nevents = "off"\n[[replicas]]\nurl = "http://b:8000/"\nname = "second"'
    first, second = load_from(tmp_path, toml).settings.replicas
    assert (first.name, first.events) == ("a:8000", "off")
    assert second == Replica(url="http://b:8000", name="second")
    expected = (
        Replica(url="http://a:1", name="a:1"),
        Replica(url="http://b", name="two"),
        Replica(url="http://c", name="c:80"),
    )
    texts = ["http://a:1", "two=http://b", "http://c"]
    assert load_from(environ={"TURNWISE_REPLICAS": ", ".join(texts)}).settings.replicas == expected
    assert load_from(flags={"--replica": ("replicas", texts)}).settings.replicas == expected
    assert load_from(flags={"--replica": ("replicas", texts[:1])}).sources["replicas"] == "--replica"


def test_a_replica_on_ipv6_is_named_without_brackets():
    (replica,) = load_from(overrides=["replicas=http://[::1]:8000"]).settings.replicas
    assert (replica.name, replica.url) == ("::1:8000", "http://[::1]:8000")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://a:1", "https is not spoken"),
        ("http://a:1/v1", "without a path"),
        ("http://a:1?x=1", "without a path"),
        ("http://user:pw@a:1", "user or password"),
        ("http://:8000", "no host"),
        ("http://", "no host"),
        ("http://a b:1", "no host"),
        ("http://a:99999", "Port out of range"),
        ("http://a:0", "no port"),
        ("http://a:x", "Port could not be cast"),
        ("localhost:8000", "write http://host:port"),
        ("bad name=http://a:1", "matching regex"),
        ("http://a:1,http://a:1", "two replicas are named a:1"),
        ("x=http://a:1,x=http://b:1", "two replicas are named x"),
    ],
)
def test_a_replica_that_cannot_be_used_is_refused_with_its_reason(text, why):
    message = refusal(environ={"TURNWISE_REPLICAS": text})
    assert message.startswith("TURNWISE_REPLICAS: `replicas")
    assert why in message


def test_a_password_in_a_url_is_not_repeated_in_the_message():
    assert "secret" not in refusal(overrides=["replicas=http://user:secret@a:1"])


def test_a_replica_table_with_an_unknown_or_missing_field_is_refused(tmp_path):
    assert "no `nmae`; did you mean `name`?" in refusal(tmp_path, '[[replicas]]\nurl = "http://a"\nnmae = "x"')
    assert "`replicas[0]`: object missing required field `url`" in refusal(tmp_path, '[[replicas]]\nname = "x"')
    assert "must be a list" in refusal(tmp_path, 'replicas = "http://a"')
    assert "`replicas[0]`" in refusal(tmp_path, "replicas = [3]")


def test_the_printed_tree_loads_again_to_the_same_settings(tmp_path):
    loaded = load_from(
        overrides=[
            "replicas=one=http://a:1,http://b:2",
            "surface.allow_paths=/a,/b",
            'server.host=we"ird\\é\x7f',
            "policy.decode_s_per_call=0.00001",
            "edits.debug_header=true",
        ]
    )
    text = as_toml_with_sources(loaded)
    assert load_from(tmp_path, text).settings == loaded.settings
    assert "debug_header = true  # --set" in text
    assert "port = 8080  # default" in text


def test_the_printed_defaults_load_again_too(tmp_path):
    text = as_toml_with_sources(load_from())
    assert load_from(tmp_path, text).settings == Settings()
    assert tomllib.loads(text)["replicas"] == []


def test_every_setting_is_described_with_type_range_and_sentence():
    docs = {doc.key: doc for doc in describe()}
    assert set(load_from().sources) <= set(docs)
    assert all(doc.sentence.endswith(".") and doc.type for doc in docs.values())
    port = docs["server.port"]
    assert (port.type, port.default, port.range) == ("integer", "8080", "at least 0, at most 65535")
    assert docs["server.head_timeout_s"].range == "above 0"
    assert docs["policy.name"].range.startswith("one of kv_aware, prefix")
    assert (docs["replicas"].type, docs["replicas"].default) == ("list of replicas", "[]")
    assert docs["replicas[].url"].default == ""
    assert docs["replicas[].events"].default == '"auto"'
    assert docs["edits.request_id"].type == "true or false"
