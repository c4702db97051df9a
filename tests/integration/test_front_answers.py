"""What the proxy answers by itself about models."""


def test_a_model_whose_name_has_a_slash_is_found_escaped_or_not(virtually, world):
    async def main():
        async with world(1, loras=("org/model",)) as proxy:
            paths = ("/v1/models/org/model", "/v1/models/org%2Fmodel", "/v1/models/org%2fother")
            return [await proxy.call(b"", path=path, method="GET") for path in paths]

    plain, escaped, other = virtually(main())
    assert [answer.head.status for answer in (plain, escaped, other)] == [200, 200, 404]
    assert escaped.json()["id"] == "org/model"
    assert "`org/other`" in other.json()["error"]["message"]


def test_a_model_that_nobody_is_known_to_serve_is_refused_by_what_is_known(virtually, world):
    async def main():
        async with world(2) as proxy:
            unknown = await proxy.call(b'{"model": "nope", "input": "x"}', path="/v1/embeddings")
            proxy.fleet.members["r1"].facts = None
            maybe = await proxy.call(b'{"model": "nope", "input": "x"}', path="/v1/embeddings")
            return unknown, maybe

    unknown, maybe = virtually(main())
    assert unknown.head.status == 404
    assert maybe.head.status == 503, "the replica that was not reached may serve it"
    assert "r1" in maybe.json()["error"]["message"]
    assert "r0" not in maybe.json()["error"]["message"]
    assert "`nope`" in maybe.json()["error"]["message"]


def test_a_name_as_large_as_a_body_is_not_repeated_whole(virtually, world):
    async def main():
        async with world(1) as proxy:
            return await proxy.call(b'{"model": "%b", "input": "x"}' % (b"m" * 100_000), path="/v1/embeddings")

    client = virtually(main())
    assert client.head.status == 404
    assert len(client.json()["error"]["message"]) < 300
