"""The embedded engine: a small, honest model of a continuous-batching engine with a paged prefix cache, behind vLLM's API."""
