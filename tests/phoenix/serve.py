"""Phoenix on loopback alone, in its own environment; `PHOENIX_*` say the ports.

Its gRPC port listens on all interfaces whatever `PHOENIX_HOST` says, so the address is put right where gRPC is told of it.
"""

import sys

from grpc.aio._server import Server  # the class of what `grpc.aio.server` makes; the public one is its base
from phoenix.server.main import main

add_insecure_port = Server.add_insecure_port


def listen_on_loopback(server, address):
    return add_insecure_port(server, address.replace("[::]:", "127.0.0.1:"))


if __name__ == "__main__":
    Server.add_insecure_port = listen_on_loopback
    sys.argv = ["phoenix", "serve"]
    sys.exit(main())
