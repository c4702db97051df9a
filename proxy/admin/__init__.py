"""The admin API and `/metrics`, on a port of their own (aiohttp)."""
