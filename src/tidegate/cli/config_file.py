"""The file of a project folder: read, replaced whole, and the note of when it was last in step with the database."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
import msgspec

from tidegate.cli.session import operator
from tidegate.config import FILE_NAME
from tidegate.config.document import DOCUMENT_CHARS_MAX
from tidegate.config.history import History, version_of_text
from tidegate.config.parse import parse, roles_of
from tidegate.config.steps import Step, compare, digest_of
from tidegate.config.versions import ConfigVersion
from tidegate.kernel.errors import ConfigurationError, ConflictError
from tidegate.mapping.references import Files
from tidegate.runtime.project import Project
from tidegate.sdk.connector import Connector
from tidegate.store.connections import Connection
from tidegate.store.sql import query
from tidegate.sync.going_live import put_to_work

_TENANTS = query("tenant_ids")
OVERTAKEN_MAX = 5


def read_file(project: Project) -> str:
    """Return the text of the project's file. Raises ConfigurationError when it cannot be read."""
    try:
        data = project.config_file.read_bytes()
        if len(data) > 4 * DOCUMENT_CHARS_MAX:
            raise ConfigurationError(f"{project.config_file} is too large", code="config_invalid")
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{project.config_file} is not UTF-8 text", code="config_invalid") from error
    except OSError as error:
        raise ConfigurationError(
            f"{project.config_file} cannot be read: {error.strerror}", code="config_missing"
        ) from error


async def adopt_file(
    conn: Connection,
    project: Project,
    document: str,
    *,
    files: Files,
    connectors: Mapping[str, Connector],
    report: Callable[[str], None],
) -> UUID:
    """Put the file to work when something starts, unless a version that was made elsewhere is newer; return the tenant.

    Then that version goes on serving, and `report` is told what to do about the file. Safe to repeat, and to run on several
    machines at once: who is overtaken by another version compares with that one. Raises ConflictError when it is overtaken
    again and again.
    """
    for tries in itertools.count(1):
        try:
            return await _adopt(conn, project, document, files=files, connectors=connectors, report=report)
        except ConflictError as error:
            if error.code != "version_overtaken" or tries == OVERTAKEN_MAX:
                raise
    raise AssertionError


async def _adopt(
    conn: Connection,
    project: Project,
    document: str,
    *,
    files: Files,
    connectors: Mapping[str, Connector],
    report: Callable[[str], None],
) -> UUID:
    config = parse(document, roles=roles_of(connectors))
    tenants: dict[str, UUID] = {name: key for key, name in await conn.fetch(_TENANTS)}
    tenant_id = tenants.get(config.tenant)
    newest = await History(conn, tenant_id).newest() if tenant_id is not None else None
    if tenant_id is not None and newest is not None:
        verdict = compare(
            document,
            tenant=config.tenant,
            step=read_step(project),
            newest=(newest.version, newest.document),
            file_version=await version_of_text(conn, tenant_id, document),
        )
        made = f"version {newest.version}, made elsewhere by {newest.applied_by}, is newer than {FILE_NAME} and goes on serving"
        if verdict == "database":
            report(f"{made}; tidegate config pull writes it here")
            return tenant_id
        if verdict == "both":
            report(f"{made}, though the file was changed too; look: tidegate config diff, then apply or pull")
            return tenant_id
    version = await put_to_work(
        conn,
        document,
        applied_by=operator(),
        files=files,
        connectors=connectors,
        expected_version=newest.version if newest is not None else 0,
    )
    keep_in_step(project, version, seen=document)
    return version.tenant_id


def keep_in_step(project: Project, version: ConfigVersion, *, seen: str) -> bool:
    """Write a version into the file where the file says something else, and note that they agree; return whether it did.

    `seen` is the file as it was looked at. One that somebody saved since, or that cannot be written (mounted read-only), is
    left as it is, and that is said.
    """
    text = read_file(project)
    if text not in (seen, version.document):
        note_step(project, version, seen)
        click.echo(
            f"{FILE_NAME} was saved meanwhile and stays as it is; it is not version {version.version}: tidegate config diff",
            err=True,
        )
        return False
    is_behind = text != version.document
    if is_behind:
        is_behind = replace_file(project.config_file, version.document)
    note_step(project, version, version.document if is_behind else text)
    return is_behind


def replace_file(path: Path, text: str) -> bool:
    """Replace a file whole, or not at all; return whether it could be written."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        click.echo(f"{path} could not be written ({error.strerror}); it is behind: tidegate config pull", err=True)
        return False
    return True


def back_up(path: Path) -> Path:
    """Keep a copy of a file beside it; return the copy. Raises ConfigurationError when it cannot be made."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    copy = path.with_name(f"{path.name}.{stamp}.bak")
    try:
        copy.write_bytes(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{copy} cannot be written: {error.strerror}", code="backup_failed") from error
    return copy


def write_files(project: Project, files: Mapping[str, str]) -> list[str]:
    """Write the value tables and hook modules of a version where the folder has others; return their names."""
    written = []
    for name, text in sorted(files.items()):
        path = project.folder / name
        if path.exists():
            if path.read_bytes().decode("utf-8-sig", errors="replace") == text:
                continue
            back_up(path)
        if replace_file(path, text):
            written.append(name)
    return written


def read_step(project: Project) -> Step | None:
    """Return when the file was last in step, None when nobody noted it."""
    try:
        return msgspec.json.decode(_note(project).read_bytes(), type=Step)
    except (OSError, msgspec.DecodeError):
        return None


def note_step(project: Project, version: ConfigVersion, text: str) -> None:
    """Note that the file, as it is, agrees with a version."""
    step = Step(tenant=version.config.tenant, version=version.version, digest=digest_of(text))
    with suppress(OSError):  # without the note, `up` compares with the stored versions
        _note(project).write_bytes(msgspec.json.encode(step))


def _note(project: Project) -> Path:
    return project.run_dir / "config.json"
