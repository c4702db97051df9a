"""vLLM, from 0.19 on: its endpoints, metrics, and KV events over ZMQ."""

from turnwise.engines.vllm.adapter import VllmAdapter
from turnwise.engines.vllm.events import ZmqEventSource
from turnwise.engines.vllm.wire import decode_batch

__all__ = ["VllmAdapter", "ZmqEventSource", "decode_batch"]
