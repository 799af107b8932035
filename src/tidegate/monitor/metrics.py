"""Metrics of several processes on one page.

Each process counts in its own registry and answers on a Unix socket `<run>/<role>-<index>.metrics.sock`; the web
process reads all of them and writes one Prometheus text in which every sample carries `process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

import structlog
from prometheus_client import REGISTRY as DEFAULT_REGISTRY
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

SOCKET_SUFFIX = ".metrics.sock"
READ_TIMEOUT_SECONDS = 2.0
PAGE_BYTES_MAX = 4 << 20
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_log = structlog.get_logger("monitor.metrics")


def socket_path(run_dir: Path, role: str, index: int) -> Path:
    """Return where process `index` of `role` answers."""
    return run_dir / f"{role}-{index}{SOCKET_SUFFIX}"


@contextlib.asynccontextmanager
async def exposed(path: Path, registry: CollectorRegistry = DEFAULT_REGISTRY) -> AsyncIterator[None]:
    """Answer every connection to the socket `path` with the registry's text, while the block runs.

    A socket left by a dead process is replaced. The socket is private to this account.
    """

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(generate_latest(registry))
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=_bind(path))
    try:
        yield
    finally:
        server.close()
        _remove(path)


async def collect(run_dir: Path) -> dict[str, str]:
    """Return the text of every process that answers: process name -> Prometheus text. Slow and dead ones are left out."""
    paths = _sockets(run_dir)
    texts = await asyncio.gather(*(_read(path) for path in paths))
    return {
        path.name.removesuffix(SOCKET_SUFFIX): text for path, text in zip(paths, texts, strict=True) if text is not None
    }


def join(texts: Mapping[str, str], own: Iterable[Metric] = ()) -> str:
    """Return one Prometheus text for the texts of several processes; their samples get the label `process`. Pure.

    `own` families are added as they stand, in place of equally named ones. Families are sorted by name and described
    once. Text that cannot be parsed is left out with its process.
    """
    families: dict[str, Metric] = {}
    for process, text in texts.items():
        try:
            found = list(text_string_to_metric_families(text))
        except ValueError:
            _log.warning("metrics.unreadable", node=process)
            continue
        for family in found:
            joined = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                labels = {**sample.labels, "process": process}
                joined.add_sample(sample.name, labels, sample.value)
    families.update((family.name, family) for family in own)
    return _render([families[name] for name in sorted(families)])


def _render(families: list[Metric]) -> str:
    class _Given:
        def collect(self) -> Iterator[Metric]:
            yield from families

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given())
    return generate_latest(registry).decode()


async def _read(path: Path) -> str | None:
    try:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            with _short(path) as short_path:
                reader, writer = await asyncio.open_unix_connection(short_path)
            try:
                page = await reader.read(PAGE_BYTES_MAX)
                while len(page) < PAGE_BYTES_MAX and (more := await reader.read(PAGE_BYTES_MAX)):
                    page += more
                return page.decode()
            finally:
                writer.close()
    except (OSError, TimeoutError, UnicodeDecodeError):
        return None


def _sockets(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob(f"*{SOCKET_SUFFIX}"))


def _bind(path: Path) -> socket.socket:
    _remove(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    with _short(path) as short_path:
        listener.bind(short_path)
    path.chmod(0o600)
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name of the socket that fits into 107 bytes however deep its folder lies (Linux)."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
