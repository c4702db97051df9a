"""Bodies under way: what a body in small pieces may cost."""

import json
import sys

import pytest

from turnwise.errors import ClientFault, Reason
from turnwise.proxy.wire.bodies import FREE_FRAMING_BYTES, ChunkedBody, LengthBody

LIMIT = 32 * 2**20
NUM_PIECES = 20_000


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def feed(body, reads):
    for read in reads:
        assert body.feed(read) is None


@pytest.mark.parametrize(
    ("body", "frame", "end"),
    [(ChunkedBody(LIMIT), chunk, b"0\r\n\r\n"), (LengthBody(8 * NUM_PIECES + 2), bytes, b"ok")],
    ids=["chunked", "length"],
)
def test_a_body_in_small_pieces_is_held_as_one_object_and_not_as_one_for_each(body, frame, end):
    before = sys.getallocatedblocks()
    feed(body, (frame(b"%08d" % number) for number in range(NUM_PIECES)))
    assert sys.getallocatedblocks() - before < NUM_PIECES / 100
    assert body.feed(end + b"next") == b"next"
    got = body.read()
    assert type(got) is bytes
    assert got.removesuffix(b"ok") == b"".join(b"%08d" % number for number in range(NUM_PIECES))


@pytest.mark.parametrize(
    ("framed", "num_chunks"), [(chunk(b"ab"), 24_000), (b"1;" + b"e" * 1000 + b"\r\na\r\n", 100)], ids=["tiny", "extended"]
)
@pytest.mark.parametrize("is_one_read", [True, False])
def test_a_body_that_is_mostly_framing_is_refused_long_before_its_limit(framed, num_chunks, is_one_read):
    body = ChunkedBody(LIMIT)
    with pytest.raises(ClientFault, match="framing") as caught:
        feed(body, [framed * num_chunks] if is_one_read else [framed] * num_chunks)
    assert (caught.value.reason, caught.value.status) == (Reason.BAD_FRAMING, 400)
    assert len(body.read()) < FREE_FRAMING_BYTES


def test_a_client_that_sends_each_piece_of_its_json_encoder_as_a_chunk_is_served():
    message = {"role": "user", "content": "what is the weather like in the town of your choice, and why"}
    call = {"model": "m", "messages": [message] * 2000, "stream": True}
    body = ChunkedBody(LIMIT)
    feed(body, (chunk(piece.encode()) for piece in json.JSONEncoder().iterencode(call)))
    assert body.feed(b"0\r\n\r\n") == b""
    assert json.loads(body.read()) == call
