from ipaddress import ip_address

import pytest

from turnwise.errors import SettingsError
from turnwise.tools_gateway.addresses import refusal
from turnwise.tools_gateway.settings import UpstreamSettings
from turnwise.tools_gateway.upstreams.addresses import CheckedResolver, check_url

METADATA = ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192")
METADATA_6 = ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254")
PRIVATE = ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "192.0.2.1", "198.18.0.1")
NOWHERE = ("0.0.0.0", "::", "224.0.0.1", "ff02::1")


def carried(address):
    """The ways in which IPv6 addresses carry an IPv4 address."""
    number = int(ip_address(address))
    high, low = number >> 16, number & 0xFFFF
    return (f"::ffff:{address}", f"64:ff9b::{high:x}:{low:x}", f"::ffff:0:{high:x}:{low:x}", f"2002:{high:x}:{low:x}::1")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", *carried("8.8.8.8")])
def test_public_addresses_may_be_connected_to(address):
    assert refusal(ip_address(address), allow_private=False) == ""


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_operators_word(address):
    assert refusal(ip_address(address), allow_private=False)
    assert refusal(ip_address(address), allow_private=True) == ""


@pytest.mark.parametrize("address", [*METADATA, *METADATA_6, *NOWHERE, "169.254.1.1", "fe80::1"])
def test_metadata_and_link_local_addresses_are_refused_whatever_the_operator_says(address):
    assert refusal(ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", ["64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1", "::8.8.8.8", "::127.0.0.1"])
def test_addresses_that_may_carry_any_other_are_refused_whatever_the_operator_says(address):
    assert refusal(ip_address(address), allow_private=True)


@pytest.mark.parametrize("inner", ["169.254.169.254", "127.0.0.1", "10.0.0.1"])
def test_an_address_within_another_is_judged_as_itself(inner):
    for address in carried(inner):
        assert refusal(ip_address(address), allow_private=False), address
    for metadata in METADATA:
        for address in carried(metadata):
            assert refusal(ip_address(address), allow_private=True), address


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "169.254.169.254", "10.1.2.3", "[::ffff:10.0.0.1]", "localhost", "a.localhost", "localhost."]
)
def test_an_address_in_a_url_is_judged_before_anything_is_sent(host):
    with pytest.raises(SettingsError, match="is refused"):
        check_url(UpstreamSettings(name="one", url=f"https://{host}/mcp"))


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.0.0.1", "0177.0.0.1"])
def test_an_address_that_only_the_c_library_reads_is_refused(host):
    with pytest.raises(SettingsError, match="written in full"):
        check_url(UpstreamSettings(name="one", url=f"https://{host}/mcp"))


def test_names_and_public_addresses_pass():
    check_url(UpstreamSettings(name="one", url="https://tools.example.com/mcp"))
    check_url(UpstreamSettings(name="one", url="https://8.8.8.8/mcp"))
    check_url(UpstreamSettings(name="one", url="http://127.0.0.1:8000/mcp", allow_private=True))
    check_url(UpstreamSettings(name="one", url="http://localhost:8000/mcp", allow_private=True))


def test_a_name_with_one_refused_address_is_trusted_with_none():
    resolver = CheckedResolver(allow_private=False)
    with pytest.raises(OSError, match="private"):
        resolver.checked("tools.example.com", 443, ["8.8.8.8", "10.0.0.1"])


def test_connections_go_to_the_addresses_that_were_checked():
    results = CheckedResolver(allow_private=False).checked("tools.example.com", 443, ["8.8.8.8", "2606:4700:4700::1111"])
    assert [(result["host"], result["port"]) for result in results] == [("8.8.8.8", 443), ("2606:4700:4700::1111", 443)]


async def test_a_name_that_leads_home_is_refused_when_it_is_resolved():
    with pytest.raises(OSError, match="localhost leads to"):
        await CheckedResolver(allow_private=False).resolve("localhost", 80)
    assert await CheckedResolver(allow_private=True).resolve("localhost", 80)
