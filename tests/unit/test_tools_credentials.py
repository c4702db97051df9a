from turnwise.tools_gateway.credentials import Credentials
from turnwise.tools_gateway.settings import Settings, TenantSettings, UpstreamSettings

ENVIRON = {"OWN": "own-secret", "ALICE": "alices-secret"}
SETTINGS = Settings(
    upstreams=(
        UpstreamSettings(name="web", url="https://web.example/mcp", bearer_env="OWN"),
        UpstreamSettings(name="all", url="https://all.example/mcp", bearer_env="OWN", shared=True),
        UpstreamSettings(name="bare", url="https://bare.example/mcp"),
    ),
    tenants=(TenantSettings(name="alice", bearer_env={"web": "ALICE"}), TenantSettings(name="bob")),
)


def test_each_tenant_has_a_credential_of_its_own_though_the_secret_be_the_same():
    credentials = Credentials(SETTINGS, ENVIRON)
    found = {credentials.of("bare", tenant).id for tenant in ("", "alice", "bob", "carol")}
    assert len(found) == 4


def test_a_tenants_own_token_is_shown_for_it_and_for_nobody_else():
    credentials = Credentials(SETTINGS, ENVIRON)
    shown = {tenant: credentials.bearer(credentials.of("web", tenant)) for tenant in ("alice", "bob", "carol", "")}
    assert shown == {"alice": "alices-secret", "bob": "own-secret", "carol": "own-secret", "": "own-secret"}
    assert credentials.bearer(credentials.of("bare", "alice")) == ""


def test_tenants_of_a_shared_upstream_have_one_credential():
    credentials = Credentials(SETTINGS, ENVIRON)
    assert credentials.of("all", "alice") == credentials.of("all", "bob")
    assert credentials.bearer(credentials.of("all", "alice")) == "own-secret"


def test_another_secret_is_another_credential_and_no_id_tells_of_it():
    before = Credentials(SETTINGS, ENVIRON).of("web", "alice")
    after = Credentials(SETTINGS, {**ENVIRON, "ALICE": "rotated"}).of("web", "alice")
    assert before != after
    assert "secret" not in before.id


def test_a_token_that_is_not_set_is_not_shown():
    credentials = Credentials(SETTINGS, {})
    assert credentials.bearer(credentials.of("web", "alice")) == ""


def test_the_tenants_of_the_file_are_known_at_the_start():
    credentials = Credentials(SETTINGS, ENVIRON)
    web, shared, _ = SETTINGS.upstreams
    assert credentials.at_start(web) == (credentials.of("web", "alice"), credentials.of("web", "bob"))
    assert credentials.at_start(shared) == (credentials.of("all", ""),)
    alone = Settings(upstreams=(web,))
    assert Credentials(alone, ENVIRON).at_start(web) == (Credentials(alone, ENVIRON).of("web", ""),)
