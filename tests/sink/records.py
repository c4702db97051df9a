"""Records of programs for tests of what is made of them."""

from msgspec.structs import replace

from turnwise.proxy.programs import spans
from turnwise.proxy.programs.values import Basis, Call, Key, Times
from turnwise.types import DialectName

STARTED = 1000.0
EPOCH_NS = 1_795_235_816_000_000_000


def wall_ns(moment):
    return EPOCH_NS + int(moment * 1e9)


def key(name="nightly", *, epoch=0, tenant="acme", **changes):
    root, trace = spans.program_ids(tenant, name, epoch)
    made = Key(root.hex(), name, tenant, "s-1", epoch, trace, root, None, True, STARTED, Basis.NAMED)
    return replace(made, **changes)


def times(arrived=STARTED, **changes):
    """A call of one second: read 10 ms, queued 20, routed 1, connected 9, prefilled 260, decoded 650, tail 50."""
    made = Times(
        arrived,
        arrived + 0.010,
        arrived + 0.030,
        arrived + 0.031,
        arrived + 0.040,
        arrived + 0.200,
        arrived + 0.300,
        arrived + 0.400,
        arrived + 0.950,
        arrived + 1.000,
    )
    return replace(made, **changes)


def call(number=0, **changes):
    made = Call(
        f"tw-0123456789ab{number:08x}",
        f"req-{number}",
        0,
        number,
        Basis.LINEAGE,
        (),
        times(STARTED + 2 * number),
        DialectName.CHAT,
        "lab",
        "replica-0",
        200,
        "",
        True,
        0,
        (),
        "stop",
        f"chatcmpl-{number}",
        1200,
        1024,
        1000,
        64,
        256,
        (),
        (),
        True,
    )
    return replace(made, **changes)
