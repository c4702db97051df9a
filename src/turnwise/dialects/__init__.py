"""The APIs that callers speak: bodies to prompts, streams to facts, errors to their shape."""
