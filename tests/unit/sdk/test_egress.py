"""Which addresses may be connected to, in every spelling that a URL can give them."""

import socket
from ipaddress import ip_address, ip_network

import pytest

from tidegate.sdk.egress import EgressBlockedError, guarded_socket_factory, is_allowed

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "2003::1",
    "64:ff9b::808:808",
    "::ffff:8.8.8.8",
]

FORBIDDEN = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "224.0.0.251",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:808:808::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:101::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_unicast_is_allowed(text: str) -> None:
    assert is_allowed(ip_address(text), [])


@pytest.mark.parametrize("text", FORBIDDEN)
def test_everything_else_is_forbidden(text: str) -> None:
    assert not is_allowed(ip_address(text), [])


@pytest.mark.parametrize("text", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::7"])
def test_the_operators_networks_are_allowed_in_every_spelling(text: str) -> None:
    assert is_allowed(ip_address(text), [ip_network("10.1.0.0/16"), ip_network("fd12::/64")])


def test_an_allowed_network_opens_nothing_beside_it() -> None:
    allow = [ip_network("10.1.0.0/16"), ip_network("::/0")]

    for text in ("10.2.0.1", "::ffff:10.2.0.1", "64:ff9b::10.2.0.1", "127.0.0.1"):
        assert not is_allowed(ip_address(text), allow)


@pytest.mark.parametrize(
    "spelling",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0x7f.1",
        "017700000001",
        "127.0.0.1.",
    ],
)
def test_the_guard_sees_the_address_behind_the_spelling(spelling: str) -> None:
    blocked: list[str] = []
    make_socket = guarded_socket_factory([], blocked.append)
    try:
        found = socket.getaddrinfo(spelling, 80, type=socket.SOCK_STREAM)
    except socket.gaierror:
        pytest.skip("this resolver does not know the spelling")

    for info in found:
        with pytest.raises(EgressBlockedError):
            make_socket(info)

    assert set(blocked) <= {"127.0.0.1", "::1"}
    assert blocked


def test_an_allowed_peer_gets_a_socket() -> None:
    make_socket = guarded_socket_factory([ip_network("127.0.0.0/8")], lambda address: None)

    with make_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))) as made:
        assert made.family == socket.AF_INET


@pytest.mark.parametrize(
    ("family", "peer"),
    [
        (socket.AF_UNIX, ("/run/postgresql/.s.PGSQL.5432",)),
        (socket.AF_INET, ("not an address", 80)),
        (socket.AF_INET, ("", 80)),
    ],
)
def test_what_is_no_internet_address_is_blocked(family: socket.AddressFamily, peer: tuple[object, ...]) -> None:
    make_socket = guarded_socket_factory([ip_network("0.0.0.0/0"), ip_network("::/0")], lambda address: None)

    with pytest.raises(EgressBlockedError):
        make_socket((family, socket.SOCK_STREAM, 0, "", peer))
