"""One connection to the tools gateway."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from turnwise.tools_gateway.link_end import LinkEnd
from turnwise.tools_gateway.messages import FromGateway, Hello, ToolTold

_DECODER = msgspec.json.Decoder(FromGateway)


class Connection(LinkEnd[FromGateway]):
    """Hands what is told of runs to `hear` once the gateway has greeted with the same version; `on_greeted` is called then."""

    def __init__(self, name: str, hear: Callable[[ToolTold], None], on_greeted: Callable[[], None]) -> None:
        super().__init__(name, "the tools gateway", _DECODER)
        self._hear = hear
        self._on_greeted = on_greeted

    def greeted(self) -> None:
        """The gateway has greeted."""
        self._on_greeted()

    def heard(self, message: FromGateway) -> None:
        """Hand on what is told of a run."""
        assert not isinstance(message, Hello)
        self._hear(message)
