"""What is relayed without being understood: only the model is read, from a JSON body or a form."""

import pytest

from turnwise.dialects import DIALECTS
from turnwise.dialects.multipart import MAX_PARTS, MAX_VALUE_BYTES
from turnwise.types import DialectName

RELAYED = (DialectName.COUNT_TOKENS, DialectName.STORED, DialectName.OPENAI)
FORM = ((b"Accept", b"*/*"), (b"Content-Type", b"multipart/form-data; boundary=b0"))


def part(name: str, value: bytes, extra: str = "") -> bytes:
    return f'--b0\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


SOUND = part("file", b"\x00\xff" * 500, '; filename="model.wav"\r\nContent-Type: audio/wav')
END = b"--b0--\r\n"


def form_call(*parts: bytes, headers=FORM):
    return DIALECTS[DialectName.OPENAI].read(b"".join(parts), headers, splice_usage=True)


@pytest.mark.parametrize("name", RELAYED)
@pytest.mark.parametrize(
    ("body", "model", "is_stream"),
    [
        (b'{"input":["x"],"model":"m","stream":true}', "m", True),
        (b'{"model":"m","stream":false}', "m", False),
        (b'{"model":7,"stream":1}', None, False),
        (b'{"model":"\xff"}', None, False),
        (b'{"model":""}', None, False),
        (b"", None, False),
        (b"{", None, False),
        (b'--boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper', None, False),
        (b'{"x":' + b"[" * 100_000, None, False),
    ],
)
def test_a_relayed_body_is_forwarded_as_it_is_and_only_its_model_read(name, body, model, is_stream):
    call = DIALECTS[name].read(body, (), splice_usage=True)
    assert (call.body, call.model, call.is_stream, call.prompt, call.adds_usage) == (body, model, is_stream, None, False)


def test_the_model_of_a_form_is_read_beside_its_file_wherever_it_stands():
    for parts in ((part("model", b"whisper"), SOUND), (SOUND, part("language", b"en"), part("model", b"whisper"))):
        call = form_call(*parts, part("stream", b"true"), END)
        assert (call.model, call.is_stream, call.prompt) == ("whisper", True, None)
        assert call.body == b"".join((*parts, part("stream", b"true"), END))


def test_a_quoted_boundary_and_other_parameters_are_understood():
    headers = ((b"content-type", b'Multipart/Form-Data; charset=utf-8; boundary="b0"'),)
    assert form_call(part("model", b"whisper"), END, headers=headers).model == "whisper"


@pytest.mark.parametrize(
    "parts",
    [
        (part("model", b"one"), part("model", b"two"), END),
        (part("model", b"one"), part("model", b"one"), part("model", b"one"), END),
        (part("model", b"m" * (MAX_VALUE_BYTES + 1)), END),
        (part("model", b"sound", '; filename="x"'), END),
        (part("model", b""), END),
        (part("x", b"1") * MAX_PARTS, part("model", b"one"), END),
        (part("model", b"cut off")[:-2],),
        (b"preamble\r\n", part("model", b"one"), END),
        (SOUND, END),
        (b"--b0",),
        (),
    ],
)
def test_a_form_that_does_not_say_its_model_plainly_names_none(parts):
    assert form_call(*parts).model is None


@pytest.mark.parametrize("kind", [b"multipart/form-data", b"multipart/mixed; boundary=b0", b"application/json", b""])
def test_a_form_is_read_only_under_its_own_content_type(kind):
    assert form_call(part("model", b"one"), END, headers=((b"content-type", kind),)).model is None


def test_a_file_that_looks_like_a_field_is_no_field():
    inner = b'--b1\r\nContent-Disposition: form-data; name="model"\r\n\r\nfake\r\n--b1--'
    call = form_call(part("file", inner * 9, '; filename="x"'), part("model", b"true"), END)
    assert call.model == "true"


def test_every_dialect_is_there_under_its_own_name():
    assert {name: dialect.name for name, dialect in DIALECTS.items()} == {name: name for name in DialectName}


@pytest.mark.parametrize("name", RELAYED)
def test_what_is_relayed_has_no_tap_and_no_filter(name):
    assert DIALECTS[name].tap() is None
    assert DIALECTS[name].usage_filter() is None
