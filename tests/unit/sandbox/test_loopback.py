"""What counts as this machine, and how public addresses are led to it."""

from __future__ import annotations

import pytest

from tidegate.sandbox.loopback import LoopbackResolver, NotLoopback, is_loopback, reachable

ROUTES = {"https://hooks.example.com/in": "http://127.0.0.1:9000/door"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    """By its spelling, without asking anybody."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", [None, "", "0.0.0.0", "10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io", "::"])
def test_not_this_machine(host: str | None) -> None:
    """A name that could lead anywhere is not this machine."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "leads_to"),
    [
        ("http://127.0.0.1:80/a", "http://127.0.0.1:80/a"),
        ("https://hooks.example.com/in", "http://127.0.0.1:9000/door"),
        ("https://hooks.example.com/in/x?y=1", "http://127.0.0.1:9000/door/x?y=1"),
    ],
)
def test_where_a_webhook_goes(url: str, leads_to: str) -> None:
    """Loopback as it is, and routes for what is public."""
    assert reachable(url, ROUTES) == leads_to


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/",
        "https://hooks.example.com/inside",
        "https://example.com@127.0.0.1:1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "//127.0.0.1/",
        "",
    ],
)
def test_where_no_webhook_goes(url: str) -> None:
    """G10: anything else is refused."""
    with pytest.raises(NotLoopback):
        reachable(url, ROUTES)


@pytest.mark.asyncio
async def test_no_name_is_looked_up() -> None:
    """The resolver knows one name."""
    assert [found["host"] for found in await LoopbackResolver().resolve("localhost", 80)] == ["127.0.0.1"]
    with pytest.raises(NotLoopback):
        await LoopbackResolver().resolve("example.com", 80)
