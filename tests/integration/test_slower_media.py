"""A replica that keeps in DRAM what its GPU evicts, through the whole pipeline on a virtual clock."""

import asyncio

BLOCK = 16


async def converse(proxy, conversations):
    """Turn after turn of some conversations, one after the other; returns the lines of all calls but the first turns."""
    histories = [[{"role": "system", "content": f"you are agent {number}. " * 12}] for number in range(conversations)]
    for turn in range(4):
        for number, history in enumerate(histories):
            await asyncio.sleep(10.0)  # the agent's tool runs, and nothing that was only predicted counts any more
            history.append({"role": "user", "content": f"conversation {number}, turn {turn}: " + "words and more words. " * 8})
            client = await proxy.call({"model": "sim", "messages": history, "max_tokens": 8})
            assert client.head.status == 200
            history.append(client.json()["choices"][0]["message"])
    return list(proxy.recorder.recent)[conversations:]


def test_what_comes_back_from_dram_is_predicted_and_costs_its_transfer(virtually, world):
    async def main():
        async with world(1, num_blocks=64, offload_blocks=4000) as proxy:
            return await converse(proxy, 8), proxy.index.stats()

    lines, stats = virtually(main())
    errors = [abs(line["predicted"]["cached_tokens"] - line["usage"].cached_tokens) for line in lines]
    assert max(errors) <= BLOCK
    assert min(line["usage"].cached_tokens for line in lines) > 4 * BLOCK
    brought_up = [line for line in lines if line["predicted"]["dram_tokens"]]
    assert len(brought_up) > len(lines) // 2
    # The first of all second turns reaches through an answer before any was seen to join its chain.
    assert [line["predicted"]["source"] for line in brought_up].count("predicted") <= 1
    for line in brought_up:
        assert line["predicted"]["dram_tokens"] <= line["predicted"]["cached_tokens"]
        assert line["cost_s"]["transfer"] > 0
    assert stats.replicas["r0"].num_dram_blocks > stats.replicas["r0"].num_blocks
