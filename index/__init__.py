"""What the proxy knows about KV: which replica holds which blocks of which prompt, and how sure that is.

Pure: no clock, no randomness, no I/O; `now` arrives as an argument. See docs/architecture.md, section "What is known about KV".
"""
