"""The files that a configuration names, read from the project folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tidegate.config.records import Config
from tidegate.kernel.errors import ConfigurationError
from tidegate.mapping.references import (
    FILE_BYTES_MAX,
    FILES_BYTES_MAX,
    FILES_MAX,
    Wanted,
    is_file_name,
    missing_files,
    wanted_files,
)


def read_files(folder: Path, config: Config) -> dict[str, str]:
    """Return the value tables and hook modules that a configuration names: name -> text.

    Raises ConfigurationError for one that is missing, too large, no UTF-8 text, or outside of the folder.
    """
    wanted = wanted_files(config.maps, config.tables)
    files: dict[str, str] = {}
    total = 0
    for name in _names(folder, wanted):
        text = _read(folder, name)
        total += len(text)
        files[name] = text
        if len(files) > FILES_MAX or total > FILES_BYTES_MAX:
            raise ConfigurationError(
                f"maps and tables name more than {FILES_MAX} files or {FILES_BYTES_MAX >> 20} MB",
                code="files_too_large",
                hint="keep only what the maps need in the folder of the hooks",
            )
    missing = missing_files(wanted, files)
    if missing:
        raise ConfigurationError(
            f"the configuration names {', '.join(missing)}, which is not in {folder}",
            code="file_missing",
            hint="put the file there, or correct its name under `tables` or `maps`",
        )
    return files


def _names(folder: Path, wanted: Wanted) -> Iterator[str]:
    for name in wanted.tables:
        if not is_file_name(name):
            raise ConfigurationError(
                f"the file name {name!r} leaves the project folder or has unusual characters",
                code="file_name_invalid",
                hint="name a file below the folder of tidegate.yaml, for example tables/taxes.csv",
            )
        if (folder / name).is_file():
            yield name
    for module in wanted.modules:
        if (folder / f"{module}.py").is_file():
            yield f"{module}.py"
        elif (folder / module).is_dir():
            yield from sorted(_package(folder, module))


def _package(folder: Path, module: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder / module):  # does not follow links
        folders[:] = [name for name in folders if name.isidentifier() and name != "__pycache__"]
        for name in names:
            if name.endswith(".py"):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _read(folder: Path, name: str) -> str:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{name} is a link that leaves the project folder", code="file_name_invalid")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ConfigurationError(f"{name} has more than {FILE_BYTES_MAX >> 20} MB", code="files_too_large")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(
            f"{name} cannot be read as UTF-8 text: {type(error).__name__}", code="file_unreadable"
        ) from error
