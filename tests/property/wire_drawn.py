"""What the fuzzing of the wire draws: valid requests and their parts, ways to cut bytes, and ways to spoil them.

`TURNWISE_FUZZ_CASES` sets the number of cases over all these tests.
"""

import itertools
import json
import os
import pathlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from turnwise.errors import ClientFault
from turnwise.proxy.wire.responses import BrokenAnswer

NUM_CASES = int(os.environ.get("TURNWISE_FUZZ_CASES", "300"))
CORPUS = json.loads((pathlib.Path(__file__).parents[1] / "data/smuggling/requests.json").read_text())
RAW_CORPUS = [entry["raw"].encode("latin-1") for entry in CORPUS]


def cases(share):
    return settings(
        max_examples=max(10, int(NUM_CASES * share)),
        deadline=None,
        derandomize="TURNWISE_FUZZ_CASES" not in os.environ,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def split(data, cuts):
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


def outcome(read, *args):
    """What reading came to, a refusal included."""
    try:
        return read(*args)
    except (BrokenAnswer, ClientFault) as error:
        return type(error)


tokens = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789-_", min_size=1, max_size=12).map(str.encode)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20).map(
    lambda text: text.encode("latin-1").strip()
)
bodies = st.one_of(st.binary(max_size=80), st.sampled_from([b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]))


@st.composite
def requests(draw):
    """The bytes of a valid request and what they mean."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS"]))
    target = b"/" + draw(st.text("abc/?=&%20", max_size=12)).encode()
    fields = [(b"X-" + name, value) for name, value in draw(st.lists(st.tuples(tokens, values), max_size=4))]
    fields.insert(draw(st.integers(0, len(fields))), (b"Host", b"h:80"))
    body = draw(bodies)
    if draw(st.booleans()):
        parts = split(body, draw(st.lists(st.integers(0, 99), max_size=3)))
        tail = draw(st.sampled_from([b"\r\n", b"X-Trailer: 1\r\n\r\n"]))
        coded = b"".join(b"%x%b\r\n%b\r\n" % (len(part), draw(st.sampled_from([b"", b";e=1"])), part) for part in parts)
        fields.append((b"Transfer-Encoding", b"chunked"))
        coded += b"0\r\n" + tail
    else:
        fields.append((draw(st.sampled_from([b"Content-Length", b"content-length"])), b"%d" % len(body)))
        coded = body
    lines = b"".join(b"%b:%b%b\r\n" % (name, draw(st.sampled_from([b"", b" ", b"\t "])), value) for name, value in fields)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, coded), (method.decode(), target.decode(), body)


cut_lists = st.lists(st.integers(0, 2000), max_size=12)

INSERTS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b":", b",", b";", b"\xff", b"0", b"1", b"chunked", b"\r\n ",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Host: y\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n", b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/2.0", b"HTTP/1.0",
]  # fmt: skip
KINDS = st.sampled_from(["insert", "delete", "replace", "repeat"])
PLACES, SIZES = st.integers(0, 600), st.integers(1, 8)
mutations = st.lists(st.tuples(KINDS, PLACES, SIZES, st.sampled_from(INSERTS)), min_size=1, max_size=4)


def mutate(data, steps):
    for kind, place, size, insert in steps:
        at = place % (len(data) + 1)
        if kind == "insert":
            data = data[:at] + insert + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + size :]
        elif kind == "replace":
            data = data[:at] + insert + data[at + len(insert) :]
        else:
            data = data[: at + size] + data[at:]
    return data


raw_requests = st.one_of(st.sampled_from(RAW_CORPUS), requests().map(lambda drawn: drawn[0]))
