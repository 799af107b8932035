"""Whether the file in a project folder or a version made elsewhere is the newer truth. Pure.

A version may come from the file, or from the API, a page, a roll-back, or the file on another machine. The folder keeps a
step: the version that its file was last in step with, and what the file was then.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """When the file of a folder was last in step with the database."""

    tenant: str
    version: int
    digest: str
    """Of the file then; it may lack the line that `since` was written into."""


Verdict = Literal["same", "file", "database", "both"]
"""same: nothing is to do. file: the file is newer, or nothing is stored yet. database: a version is newer than the file,
which nobody changed. both: the file was changed, and a version was made elsewhere."""


def digest_of(document: str) -> str:
    """Return what tells two texts apart."""
    return hashlib.sha256(document.encode()).hexdigest()


def compare(
    file: str, *, tenant: str, step: Step | None, newest: tuple[int, str] | None, file_version: int | None
) -> Verdict:
    """Return who is ahead. `newest` is (number, text); `file_version` the newest version whose text is the file's."""
    if newest is None:
        return "file"
    number, text = newest
    if text == file:
        return "same"
    if step is None or step.tenant != tenant:
        return "database" if file_version is not None else "file"
    is_edited = step.digest != digest_of(file)
    if step.version >= number:
        return "file" if is_edited else "same"
    return "both" if is_edited else "database"
