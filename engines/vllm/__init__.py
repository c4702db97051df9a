"""vLLM, from 0.19 on: its endpoints, metrics, and KV events over ZMQ."""
