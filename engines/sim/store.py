"""Responses that the engine keeps for later calls, as vLLM does with `VLLM_ENABLE_RESPONSES_API_STORE=1`."""

from __future__ import annotations

import msgspec

from turnwise.engines.sim.answers import Json
from turnwise.engines.sim.bodies import Message, SimFault

MAX_RESPONSES = 10_000
"""Responses kept; the one that was used longest ago goes first."""


class StoredResponse(msgspec.Struct, frozen=True):
    """A finished response, and the conversation up to and with it, but for instructions."""

    answer: Json
    messages: tuple[Message, ...]


class ResponseStore:
    """Stored responses by id."""

    def __init__(self) -> None:
        self._kept: dict[str, StoredResponse] = {}

    def put(self, response: StoredResponse) -> None:
        """Keep a response."""
        self._kept[response.answer["id"]] = response
        while len(self._kept) > MAX_RESPONSES:
            del self._kept[next(iter(self._kept))]

    def get(self, response_id: str, *, param: str = "response_id") -> StoredResponse:
        """A response by its id; raises `SimFault` 404 where it is not kept."""
        found = self._kept.pop(response_id, None)
        if found is None:
            raise SimFault(404, f"Response with id '{response_id}' not found.", kind="NotFoundError", param=param)
        self._kept[response_id] = found
        return found
