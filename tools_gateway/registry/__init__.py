"""Which tools there are, under which names, and which of them somebody has approved; pure."""
