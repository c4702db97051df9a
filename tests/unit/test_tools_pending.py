"""Which definitions wait to be approved."""

from tests.unit.tools_registry import definition, pinned, settings, upstream

from turnwise.tools_gateway.registry.pending import approved, lines, pending
from turnwise.tools_gateway.registry.pins import Pins, Seen, identity


def test_what_tenants_see_unlike_is_approved_for_one_of_them():
    of = upstream()
    told = settings(of, tenants=("t", "u"))
    mine, other = definition("x"), definition("x", description="Other.")
    seen = Seen(upstreams={f"{identity(of)}@t": [mine], f"{identity(of)}@u": [other]})
    (common,) = pending(told, Pins(), seen)
    assert (common.name, common.owner, common.definition) == ("a__x", identity(of), mine)
    pins = approved(Pins(), [common], at="now", by="me")
    assert pending(told, pins, seen) == pending(told, pins, seen, "t") == []
    (own,) = pending(told, pins, seen, "u")
    assert (own.owner, own.definition, own.before) == (f"{identity(of)}@u", other, mine)
    assert pending(told, approved(pins, [own], at="now", by="me"), seen, "u") == []


def test_a_trusted_upstream_has_nothing_to_approve():
    of = upstream(trusted=True)
    assert pending(settings(of), Pins(), Seen(upstreams={identity(of): [definition()]})) == []


def test_what_is_pinned_is_what_is_shown_before_it_is_approved():
    shown = lines(
        definition(title="a\u202eb", annotations={"readOnlyHint": True}, outputSchema={"x": "\U000e0041"}, icons=["no"])
    )
    text = "\n".join(shown)
    assert "title: a<U+202E>b" in text
    assert '"readOnlyHint": true' in text
    assert "<U+E0041>" in text
    assert "no" not in shown
    assert pinned(upstream(), definition()).of(identity(upstream()))["echo"].definition == definition()
