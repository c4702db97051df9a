"""What is taken for a secret, and what is not."""

import pytest

from turnwise.tools_gateway.trust.secrets import SHAPES, found_in, redacted, shapes_in

LETTERS = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3gH5jK7mN9pQ1sT3vW5yZ7bC9dF1gH3jK5mN7pQ9sT1vW3yZ5"
SECRETS = {
    "GitHub token": "ghp_" + LETTERS[:36],
    "GitHub token, fine": f"github_pat_{LETTERS[:22]}_{LETTERS[:59]}",
    "GitLab token": "glpat-" + LETTERS[:20],
    "AWS access key": "AKIA" + "ABCDEFGH234567JK",
    "Google API key": "AIza" + LETTERS[:35],
    "Slack token": "xoxb-123456789012-123456789012-" + LETTERS[:24],
    "Stripe key": "sk_live_" + LETTERS[:24],
    "Anthropic API key": "sk-ant-api03-" + (LETTERS * 2)[:95],
    "OpenAI API key": f"sk-proj-{LETTERS[:40]}T3BlbkFJ{LETTERS[:40]}",
    "Hugging Face token": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
    "npm token": "npm_" + LETTERS[:36],
    "PyPI token": "pypi-AgEIcHlwaS5vcmc" + LETTERS[:60],
    "DigitalOcean token": "dop_v1_" + "0123456789abcdef" * 4,
    "SendGrid API key": f"SG.{LETTERS[:22]}.{LETTERS[:43]}",
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n-----END OPENSSH PRIVATE KEY-----",
}
PLAIN = (
    "the task-ant-hill, a risk-free disk-based list of npm_config_registry and hf_hub_download in ghp_ style",
    "sk_test_" + LETTERS[:24],
    "https://github.com/a/b/commit/" + "0123456789abcdef0123456789abcdef01234567",
    "d41d8cd98f00b204e9800998ecf8427e 123e4567-e89b-12d3-a456-426614174000",
    "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    "AKIATOOSHORT SG.1.2 AIzaShort xoxb-1 glpat-x",
    "x" + "ghp_" + LETTERS[:36],
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    LETTERS * 20,
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_found_by_its_kind_and_blacked_out_whole(name):
    secret = SECRETS[name]
    text = f'export TOKEN="{secret}"; echo done'
    shapes = shapes_in(text.encode())
    assert name.partition(",")[0] in set(found_in(text, shapes))
    assert redacted(text, shapes) == f'export TOKEN="[{name.partition(",")[0]} removed]"; echo done'


@pytest.mark.parametrize("text", PLAIN, ids=lambda text: text[:20])
def test_what_only_looks_alike_is_left_alone(text):
    shapes = shapes_in(text.encode())
    assert list(found_in(text, shapes)) == []
    assert redacted(text, shapes) == text


def test_the_quick_look_sees_every_mark():
    for shape in SHAPES:
        for mark in shape.marks:
            assert shape in shapes_in(f"some text {mark} more".encode())
    assert shapes_in(b"nothing of the kind - at all_here. ATT") == []


def test_a_key_that_is_cut_off_is_still_found():
    text = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA"
    assert "private key" in set(found_in(text, shapes_in(text.encode())))
