"""The data path: from a client's bytes to a replica and back, in seven steps (`pipeline`)."""
