"""The engines behind the proxy: one adapter for each kind, and the embedded engine `sim`, which speaks vLLM's API."""
