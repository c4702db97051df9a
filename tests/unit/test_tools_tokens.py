"""Who holds a token: nobody, unless it was made for this gateway."""

import hashlib
import json
import logging

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from turnwise.errors import SettingsError
from turnwise.tools_gateway.settings import Auth, Settings, TenantSettings
from turnwise.tools_gateway.trust.tokens import Tokens, Unauthorized
from turnwise.tools_gateway.values import Principal

NOW = 1_800_000_000.0
GATEWAY, ISSUER = "https://gateway.example/mcp", "https://issuer.example"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def sha256(token):
    return hashlib.sha256(token.encode()).hexdigest()


def jwk(key, kid):
    algorithm, name = (RSAAlgorithm, "RS256") if key is RSA_KEY else (ECAlgorithm, "ES256")
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "alg": name, "use": "sig"}


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(RSA_KEY, "r"), jwk(EC_KEY, "e")]}))
    return file


def tokens(keys, tenants=(), now=lambda: NOW):
    auth = Auth(issuer=ISSUER, audience=GATEWAY, jwks_file=str(keys))
    return Tokens(Settings(auth=auth, tenants=tenants), now)


def signed(key=EC_KEY, kid="e", algorithm="ES256", headers=None, **claims):
    given = {"iss": ISSUER, "aud": GATEWAY, "exp": NOW + 60, "tenant": "t", "scope": "use write"} | claims
    return jwt.encode(
        {name: value for name, value in given.items() if value is not None}, key, algorithm, {"kid": kid, **(headers or {})}
    )


def why(of, token):
    with pytest.raises(Unauthorized) as caught:
        of.verified(token)
    assert of.principal(token or "") is None
    return str(caught.value)


def test_without_tenants_and_issuer_everybody_is_the_unnamed_one():
    known = Tokens(Settings())
    assert not known.are_needed
    assert known.verified(None) == known.principal("anything") == Principal("")


def test_a_tenant_is_known_by_each_of_its_tokens_and_bound_by_no_scope():
    known = Tokens(
        Settings(tenants=(TenantSettings(name="t", token_sha256=(sha256("one"), sha256("two"))), TenantSettings(name="u")))
    )
    assert known.verified("one") == known.verified("two") == Principal("t", frozenset("*"))
    assert why(known, "three") == "the token is not known"
    assert why(known, sha256("one")) == "the token is not known"
    assert why(known, None) == why(known, "") == "a bearer token is needed"
    assert why(known, "x" * 20_000) == "the token is too long"
    assert why(known, "\udcff") == "the token is not known"


def test_a_signed_token_for_this_gateway_names_tenant_and_scopes(keys):
    known = tokens(keys)
    assert known.verified(signed()) == Principal("t", frozenset(("use", "write")))
    assert known.verified(signed(RSA_KEY, "r", "RS256", scope=None)) == Principal("t")
    assert known.verified(signed(headers={"typ": "at+jwt"}))
    assert known.verified(signed(aud=[GATEWAY, "https://other.example"]))


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda: signed(aud="https://other.example"), "issued for somebody else"),
        (lambda: signed(aud=None), "lacks exp, aud or iss"),
        (lambda: signed(aud=GATEWAY + "/other"), "issued for somebody else"),
        (lambda: signed(iss="https://evil.example"), "issued by somebody else"),
        (lambda: signed(iss=None), "lacks exp, aud or iss"),
        (lambda: signed(exp=None), "lacks exp, aud or iss"),
        (lambda: signed(exp=NOW - 31), "has expired"),
        (lambda: signed(nbf=4_000_000_000), "not valid yet"),
        (lambda: signed(OTHER_KEY), "signature is wrong"),
        (lambda: signed(OTHER_KEY, "o"), "not the issuer's"),
        (lambda: signed(RSA_KEY, "e", "RS256"), "signed in a way that is not taken"),
        (lambda: jwt.encode({"aud": GATEWAY}, None, "none"), "not the issuer's"),
        (lambda: jwt.encode({"aud": GATEWAY}, None, "none", {"kid": "e"}), "signed in a way that is not taken"),
        (lambda: jwt.encode({"aud": GATEWAY}, "x" * 64, "HS256", {"kid": "e"}), "signed in a way that is not taken"),
        (lambda: signed(headers={"typ": "id+jwt"}), "no access token"),
        (lambda: signed(tenant=None), "no claim tenant"),
        (lambda: signed(tenant=""), "no claim tenant"),
        (lambda: signed(tenant=["t"]), "no claim tenant"),
        (lambda: signed(tenant="a\nb"), "no claim tenant"),
        (lambda: signed(scope=["use"]), "not of their types"),
        (lambda: "a.b.c", "no JSON web token"),
        (lambda: "hello", "no JSON web token"),
    ],
)
def test_any_other_token_is_refused_with_its_reason(keys, token, reason):
    assert reason in why(tokens(keys), token())


def test_a_scope_cannot_be_everything(keys):
    assert tokens(keys).verified(signed(scope="* use")).scopes == {"use"}


def test_a_token_is_good_until_it_expires_though_it_was_checked_before(keys):
    moment = [NOW]
    known = tokens(keys, now=lambda: moment[0])
    token = signed(exp=NOW + 10)
    assert known.verified(token) == known.verified(token)
    moment[0] = NOW + 41
    assert why(known, token) == "the token has expired"


def test_where_the_file_names_tenants_a_token_of_another_is_refused(keys):
    known = tokens(keys, (TenantSettings(name="t", token_sha256=(sha256("static"),)),))
    assert known.verified(signed()).tenant == "t"
    assert known.verified("static").scopes == {"*"}
    assert "not one of this gateway" in why(known, signed(tenant="u"))


def test_keys_that_were_turned_over_are_read_again_within_a_second(keys):
    moment = [NOW]
    known = tokens(keys, now=lambda: moment[0])
    old, new = signed(), signed(OTHER_KEY, "o")
    assert known.verified(old).tenant == "t"
    assert "not the issuer's" in why(known, new)
    keys.write_text(json.dumps({"keys": [jwk(OTHER_KEY, "o")]}))
    moment[0] += 1
    assert known.verified(new).tenant == "t"
    assert "not the issuer's" in why(known, old), "its key was taken out, and that it was checked before is worth nothing"


@pytest.mark.parametrize(
    "spoil", [lambda file: file.write_text("nonsense, and longer than before"), lambda file: file.unlink()]
)
def test_while_the_file_of_keys_cannot_be_read_those_before_stand(keys, spoil, caplog):
    moment = [NOW]
    known = tokens(keys, now=lambda: moment[0])
    token = signed()
    assert known.verified(token).tenant == "t"
    spoil(keys)
    for _ in range(3):
        moment[0] += 1
        assert known.verified(token).tenant == "t"
    assert caplog.text.count("those before stand") == 1
    keys.write_text(json.dumps({"keys": [jwk(OTHER_KEY, "o")]}))
    moment[0] += 1
    assert "not the issuer's" in why(known, token)


def test_why_somebody_was_refused_is_logged_once_a_second_at_most(keys, caplog):
    caplog.set_level(logging.INFO)
    moment = [NOW]
    known = tokens(keys, now=lambda: moment[0])
    for _ in range(9):
        assert known.principal(signed(aud="https://other.example")) is None
    assert caplog.text.count("a request was refused: the token was issued for somebody else") == 1
    moment[0] += 1
    assert known.principal("hello") is None
    assert "a request was refused: the token is no JSON web token" in caplog.text


@pytest.mark.parametrize("text", ["", "{}", '{"keys":[]}', '{"keys":[{"kty":"oct","k":"eHh4"}]}', "nonsense"])
def test_keys_that_cannot_be_used_refuse_to_start(keys, text):
    keys.write_text(text)
    with pytest.raises(SettingsError, match=r"`auth\.jwks_file`: .*no set of public keys"):
        tokens(keys)


def test_keys_that_are_not_there_refuse_to_start(tmp_path):
    with pytest.raises(SettingsError, match=r"`auth\.jwks_file`: .*cannot be read"):
        tokens(tmp_path / "absent.json")


def test_no_token_is_logged_or_repeated(keys, caplog):
    caplog.set_level(logging.DEBUG)
    known = tokens(keys)
    for token in (signed(OTHER_KEY), signed(aud="x"), "hunter2"):
        assert token not in why(known, token)
        assert token not in caplog.text
    token = signed()
    assert token not in f"{known.verified(token)!r}{vars(known)!r}{caplog.text}"
