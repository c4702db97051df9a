"""What is learned of templates, answers and caches is in the metrics, too."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from turnwise.proxy.export.prometheus import Gauges

NUM_TURNS = 8


async def talk(proxy, number):
    messages = [{"role": "system", "content": f"agent {number} " * 60}]
    for turn in range(NUM_TURNS):
        messages.append({"role": "user", "content": f"question {turn} of {number} " * 20})
        client = await proxy.call({"model": "sim", "messages": messages, "max_tokens": 60})
        said = client.json()["choices"][0]["message"]
        messages.append({key: said[key] for key in ("role", "content", "reasoning") if said.get(key)})
        await asyncio.sleep(1)


@pytest.mark.parametrize("has_events", [True, False])
def test_what_a_template_that_drops_reasoning_does_to_knowledge_can_be_watched(virtually, world, has_events):
    async def main():
        async with world(1, has_events=has_events, template="drops_reasoning", reasoning_share=1.0) as proxy:
            for number in range(4):
                await talk(proxy, number)
            proxy.metrics.registry.register(
                Gauges(proxy.fleet, proxy.index, proxy.metrics.calls, clock=proxy.clock, num_connections=int)
            )
            return proxy.index.stats(), proxy.metrics.render().decode()

    stats, page = virtually(main())
    samples = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    (cache,) = stats.replicas.values()
    assert samples["turnwise_cache_effective_tokens", "r0"] == cache.effective_tokens > 0
    assert samples["turnwise_silent_restarts_total", "r0"] == cache.num_silent_restarts
    assert samples["turnwise_unexplained_losses_total", "r0"] == cache.num_unexplained_losses
    assert samples["turnwise_templates_whole_only",] == stats.num_templates_whole_only
    told = {tuple(labels): value for (name, *labels), value in samples.items() if name == "turnwise_answers_total"}
    assert told == {(fate, kind): num for kind, fates in stats.answers.items() for fate, num in fates.items()}
    if has_events:
        assert stats.num_templates_whole_only == 1
        assert told
