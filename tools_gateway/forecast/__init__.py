"""The runtime table: how long each tool runs, by the size of its arguments; pure."""
