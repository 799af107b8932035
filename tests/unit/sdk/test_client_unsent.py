"""What fails before the first byte certainly did not happen, and a forbidden address is never connected to."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.rawserver import Peer, RawServer
from tests.remotebed import HASTY, LOOPBACK, OPEN, api_of

from tidegate.kernel.clock import SystemClock
from tidegate.kernel.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    TransientError,
)
from tidegate.sdk import client as client_module
from tidegate.sdk.client import HttpApi

pytestmark = pytest.mark.asyncio


async def close(peer: Peer) -> None:
    peer.close()


async def test_a_refused_connection_is_certainly_not_sent() -> None:
    async with RawServer(close) as server:
        base_url = server.base_url
    async with api_of(base_url, OPEN) as api:
        with pytest.raises(TransientError) as caught:
            await api.request("POST", "/x")

    assert caught.value.code == "not_sent_connect"


async def test_a_failed_tls_handshake_is_certainly_not_sent() -> None:
    async def speak_plainly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with api_of(f"https://127.0.0.1:{port}", OPEN) as api:
            with pytest.raises(TransientError) as caught:
                await api.request("POST", "/x")

    assert caught.value.code == "not_sent_tls"


async def test_a_self_signed_certificate_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with (
        RawServer(lambda peer: peer.answer(), tls=self_signed(tmp_path)) as server,
        api_of(f"https://127.0.0.1:{server.port}", OPEN) as api,
    ):
        with pytest.raises(TransientError) as caught:
            await api.request("POST", "/x")

    assert caught.value.code == "not_sent_tls"
    assert server.requests == []


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


async def test_a_handshake_beyond_the_deadline_is_certainly_not_sent() -> None:
    async with RawServer(close) as server, api_of(f"https://127.0.0.1:{server.port}", HASTY) as api:
        with pytest.raises(TransientError) as caught:
            await api.request("POST", "/x")

    assert caught.value.code == "not_sent_timeout"


async def test_an_unknown_name_is_certainly_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object, *arguments: object, **options: object) -> list[Any]:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(client_module.ThreadedResolver, "resolve", fail)
    async with api_of("http://shop.invalid", OPEN) as api:
        with pytest.raises(TransientError) as caught:
            await api.request("POST", "/x")

    assert caught.value.code == "not_sent_dns"


async def test_before_send_runs_when_connected_and_keeps_every_byte_back() -> None:
    connections: list[int] = []

    def lease_is_lost() -> None:
        connections.append(server.connections)
        raise TransientError(code="lease_lost")

    async with RawServer(close) as server, api_of(server.base_url, OPEN) as api:
        api.before_send = lease_is_lost
        with pytest.raises(TransientError) as caught:
            await api.request("POST", "/x", json={"a": 1})
        api.before_send = None
        with pytest.raises(OutcomeUnknownError):
            await api.request("POST", "/y")

    assert caught.value.code == "lease_lost"
    assert len(connections) == 1
    assert [request.split(b" ")[1] for request in server.requests] == [b"/y"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_a_forbidden_address_is_a_matter_for_the_operator(host: str) -> None:
    async with RawServer(close) as server, api_of(f"http://{host}:{server.port}", OPEN, allow=[]) as api:
        with pytest.raises(ConfigurationError) as caught:
            await api.request("GET", "/x", changes_state=False)

    ambiguous = host.replace(".", "").isalnum() and host not in ("127.0.0.1", "localhost")
    assert caught.value.code == "egress_blocked" or (ambiguous and caught.value.code == "base_url")
    assert caught.value.hint is not None or ambiguous
    assert server.connections == 0


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://example.test",
        "file:///etc/passwd",
        "//example.test",
        "example.test",
        "http://",
        "http://user:password@example.test",
        "http://user@example.test",
        "http://example.test/?a=1",
        "http://example.test/#a",
        "http://exa mple.test",
        "http://example.test\r\nX-Evil: 1",
        "http://example.test\\@evil.test",
        "http://[::1",
        "http://example.test:99999",
        "http://example.test:0",
        "",
    ],
)
async def test_an_unusable_base_url_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HttpApi(OPEN, base_url, {}, {}, allow=LOOPBACK, clock=SystemClock())

    assert caught.value.code == "base_url"
