"""The process that runs hooks: it takes requests on its standard input, one at a time, and answers on its standard output.

It is started with nothing but these two descriptors and an empty environment, and then gives up what it can: memory
beyond its bound, new files, other processes, the network. A hook that does not come back in time is interrupted at the
line where it is; the worker kills what does not even react to that.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.abc
import importlib.machinery
import os
import resource
import signal
import struct
import sys
import sysconfig
import types
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from tidegate.mapping.hook_wire import (
    ANSWER_BYTES_MAX,
    LENGTH,
    REQUEST_BYTES_MAX,
    Answer,
    Request,
    Setup,
    Trouble,
    frame,
)
from tidegate.sdk.flows import MARK, Cfg, Record, Verdict

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_REPEAT_SECONDS = 0.02
"""A hook that swallows the interruption is interrupted again."""
_AMOUNTS = frozenset({"total", "shipping_total", "discount", "unit_price"})
_FORBIDDEN = (
    "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "subprocess.Popen",
    "pty.spawn", "socket.", "os.kill", "os.killpg", "signal.pthread_kill", "os.remove", "os.rename", "os.mkdir", "os.rmdir",
    "os.link", "os.symlink", "os.utime", "os.setxattr", "os.removexattr", "os.truncate", "os.chmod", "os.chown", "os.listdir", "os.scandir", "os.putenv", "shutil.",
    "ctypes.dlopen", "ctypes.dlsym", "mmap.", "sqlite3.", "ftplib.", "smtplib.", "urllib.",
)  # fmt: skip
"""Beginnings of audit events that a hook has no business with."""


class Interrupted(BaseException):
    """The deadline has passed."""


def main() -> None:
    """Serve until the standard input ends. Never returns an error to the shell: the worker only looks at answers."""
    requests, answers = _take_descriptors()
    body = _read(requests)
    if body is None:
        return
    setup = msgspec.json.decode(body, type=Setup)
    alarm = _Alarm()
    state, trouble = _load(setup, alarm)
    _write(answers, Answer(number=0, trouble=trouble, is_ending=trouble is not None))
    while state is not None and trouble is None:
        body = _read(requests)
        if body is None:
            return
        answer = _serve(msgspec.json.decode(body, type=Request), state, setup, alarm)
        _write(answers, answer)
        if answer.is_ending:
            os._exit(0)


# --- descriptors ---------------------------------------------------------------------------------------------------
def _take_descriptors() -> tuple[int, int]:
    """Keep the two pipes where a print does not reach them; what hooks print goes nowhere."""
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return requests, answers


def _read(descriptor: int) -> bytes | None:
    head = _read_exactly(descriptor, LENGTH.size)
    if head is None:
        return None
    (length,) = LENGTH.unpack(head)
    return _read_exactly(descriptor, length) if length <= REQUEST_BYTES_MAX else None


def _read_exactly(descriptor: int, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = os.read(descriptor, min(1 << 16, length - len(parts)))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _write(descriptor: int, answer: Answer) -> None:
    data = memoryview(frame(answer))
    while data:
        data = data[os.write(descriptor, data) :]


# --- giving up -----------------------------------------------------------------------------------------------------
def _give_up(memory_bytes: int) -> None:
    """Give up what no hook needs. What the system does not let us give up, we keep."""
    if sys.platform == "linux":
        call = ctypes.CDLL(None).prctl
        call(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        call(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0, "RLIMIT_NOFILE": 64}
    limits["RLIMIT_AS"] = _address_space() + memory_bytes
    for name, value in limits.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            resource.setrlimit(
                number, (value, value) if hard in (-1, resource.RLIM_INFINITY) else (min(value, hard),) * 2
            )
    os.chdir("/")
    sys.addaudithook(_guard(_readable_places()))


def _address_space() -> int:
    """Return what the interpreter itself takes, in bytes."""
    try:
        with open("/proc/self/statm", "rb") as pages:  # noqa: PTH123 - pathlib is not needed for one line
            return int(pages.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 512 << 20


def _readable_places() -> tuple[str, ...]:
    """Return where Python's own code and data are: imports and time zones go on working."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values(), *zoneinfo.TZPATH}
    paths |= {place for place in sys.path if place}
    return tuple(os.path.join(path, "") for path in paths if len(path) > 1)  # noqa: PTH118 - texts, not paths


def _guard(readable: tuple[str, ...]) -> Callable[[str, tuple[Any, ...]], None]:
    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if _is_writing(mode, flags) or not _is_below(path, readable):
                raise PermissionError("a hook may not open files; give it what it needs as a value table")
        elif event.startswith(_FORBIDDEN):
            raise PermissionError(f"a hook may not do this: {event}")

    return audit


def _is_writing(mode: str | None, flags: int) -> bool:
    """Whether a file would be opened for more than reading: by its mode, or by flags as `os.open` takes them."""
    wanted = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    return bool(flags & wanted) or (mode is not None and not set(mode).isdisjoint("wax+"))


def _is_below(path: object, places: tuple[str, ...]) -> bool:
    """Whether a path is below one of the places, and does not climb out of it again."""
    text = str(path)
    return any(text.startswith(place) and ".." not in text[len(place) :].split("/") for place in places)


class _Alarm:
    """Interrupts the main thread when the deadline has passed, again and again until it is off."""

    def __init__(self) -> None:
        self._is_on = False
        signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, _number: int, _frame: types.FrameType | None) -> None:
        if self._is_on:
            raise Interrupted

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        self._is_on = True
        signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT_SECONDS)
        try:
            yield
        finally:
            self._is_on = False
            signal.setitimer(signal.ITIMER_REAL, 0)


# --- loading -------------------------------------------------------------------------------------------------------
class _Modules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the author's modules from the texts that came with the configuration."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        place = name.replace(".", "/")
        if f"{place}.py" in self._files:
            return importlib.machinery.ModuleSpec(name, self, origin=f"{place}.py")
        if any(file.startswith(f"{place}/") for file in self._files):
            return importlib.machinery.ModuleSpec(name, self, origin=f"{place}/__init__.py", is_package=True)
        return None

    def get_source(self, fullname: str) -> str:
        place = fullname.replace(".", "/")
        return self._files.get(f"{place}.py", self._files.get(f"{place}/__init__.py", ""))

    def get_code(self, fullname: str) -> types.CodeType:
        place = fullname.replace(".", "/")
        origin = f"{place}.py" if f"{place}.py" in self._files else f"{place}/__init__.py"
        return compile(self.get_source(fullname), origin, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - this process exists to do that

    def is_package(self, fullname: str) -> bool:
        return f"{fullname.replace('.', '/')}.py" not in self._files


class _State:
    """The author's functions and what they are configured with."""

    def __init__(self, functions: Mapping[str, Mapping[str, Callable[..., Any]]], cfg: Cfg) -> None:
        self.functions = functions
        self.cfg = cfg


class _UnusableError(Exception):
    """A hook, or what it returned, is not what it should be."""


def _load(setup: Setup, alarm: _Alarm) -> tuple[_State | None, Trouble | None]:
    sys.meta_path.insert(0, _Modules(setup.files))
    _give_up(setup.memory_bytes)
    try:
        with alarm.within(max(5.0, setup.deadline_seconds)):
            functions = {
                flow: {place: _function(flow, place, name) for place, name in hooks.items()}
                for flow, hooks in setup.hooks.items()
            }
    except BaseException as error:  # of the author's module: whatever it raises
        return None, _trouble(error, setup.files, "loading")
    gc.collect()
    gc.freeze()
    return _State(functions, Cfg(setup.cfg)), None


_WANTED = {
    ("orders", "order"): ("transform", "orders"),
    ("orders", "lines"): ("transform", "orders.lines"),
    ("orders", "decide"): ("decide", "orders"),
    ("shipments", "decide"): ("decide", "shipments"),
}
"""(flow, place of the map) -> the mark that its function must have."""


def _function(flow: str, place: str, name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] | None = getattr(importlib.import_module(module), attribute, None)
    kind, wanted = _WANTED[flow, place]
    if function is None:
        raise _UnusableError(f"{module} has no {attribute!r}")
    if getattr(function, MARK, None) != (kind, wanted):
        raise _UnusableError(f'{name} is not marked: write @{kind}("{wanted}") above it')
    return function


# --- running -------------------------------------------------------------------------------------------------------
def _serve(request: Request, state: _State, setup: Setup, alarm: _Alarm) -> Answer:
    value = _record(request.value)
    functions = state.functions.get(request.flow, {})
    try:
        with alarm.within(setup.deadline_seconds):
            changed = _transform(value, functions, state.cfg)
            verdict = _decide(changed, functions, state.cfg)
            order = _plain(changed, "order") if changed is not value else None
            answer = Answer(number=request.number, order=order, verdict=verdict.kind, reason=str(verdict.reason)[:300])
            _require_small(answer)
    except BaseException as error:  # whatever the author's code raises, SystemExit too
        is_ending = not isinstance(error, Exception) or isinstance(error, MemoryError)
        return Answer(number=request.number, trouble=_trouble(error, setup.files, "running"), is_ending=is_ending)
    return answer


def _require_small(answer: Answer) -> None:
    if len(msgspec.json.encode(answer)) > ANSWER_BYTES_MAX:
        raise _UnusableError(f"the result is larger than {ANSWER_BYTES_MAX >> 20} MB")


def _transform(order: Record, functions: Mapping[str, Callable[..., Any]], cfg: Cfg) -> Record:
    if "order" in functions:
        order = _checked(functions["order"](order, cfg), "order")
    if "lines" in functions:
        lines: list[Any] = []
        for line in order.lines:
            result = functions["lines"](line, cfg)
            if isinstance(result, list | tuple):
                lines += [_checked(part, "lines") for part in result]
            else:
                lines.append(_checked(result, "lines"))
        if len(lines) != len(order.lines) or any(new is not old for new, old in zip(lines, order.lines, strict=True)):
            order = order.replace(lines=lines)
    return order


def _checked(result: object, place: str) -> Record:
    if not isinstance(result, Record):
        wanted = "a line or a list of lines" if place == "lines" else "the order"
        raise _UnusableError(f"the hook of {place!r} returned a {type(result).__name__}, and {wanted} is needed")
    return result


def _decide(value: Record, functions: Mapping[str, Callable[..., Any]], cfg: Cfg) -> Verdict:
    if "decide" not in functions:
        return Verdict()
    verdict = functions["decide"](value, cfg)
    if verdict is None:
        return Verdict()
    if not isinstance(verdict, Verdict) or verdict.kind not in ("send", "hold", "skip"):
        raise _UnusableError(f"the hook of 'decide' returned a {type(verdict).__name__}, not Hold, Skip, Send or None")
    return verdict


def _record(value: Any, name: str = "") -> Any:
    """Return a value as hooks see it: records for mappings, decimals for amounts."""
    if isinstance(value, dict):
        if name == "fields":
            return dict(value)
        return Record({key: _record(inner, key) for key, inner in value.items()})
    if isinstance(value, list):
        return [_record(inner) for inner in value]
    return Decimal(value) if name in _AMOUNTS else value


def _plain(value: Any, place: str, depth: int = 0) -> Any:
    """Return what a hook made as JSON-like values. Raises _UnusableError that names the place of anything else."""
    if depth > 6:
        raise _UnusableError(f"{place} is nested too deep")
    if isinstance(value, bool) or value is None or isinstance(value, float):
        hint = "use Decimal for amounts" if isinstance(value, float) else "use a text or a whole number"
        raise _UnusableError(f"{place} is a {type(value).__name__}: {hint}")
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{place}.{key}", depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{place}[{index}]", depth + 1) for index, inner in enumerate(value)]
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise _UnusableError(f"{place} is no finite number")
        return format(value, "f")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    raise _UnusableError(f"{place} is a {type(value).__name__}, and only texts, whole numbers and Decimals are taken")


def _trouble(error: BaseException, files: Mapping[str, str], doing: str) -> Trouble:
    place = _place(error, files)
    where = f" at {place}" if place else ""
    try:
        words = f"{type(error).__name__}: {error}"[:300]
    except BaseException:  # an error whose own text raises
        words = type(error).__name__
    if isinstance(error, Interrupted):
        return Trouble(code="hook_timeout", reason=f"the hook did not come back in time; it was{where or ' somewhere'}")
    if isinstance(error, MemoryError):
        return Trouble(code="hook_memory", reason=f"the hook took more memory than it may{where}")
    if isinstance(error, _UnusableError):
        return Trouble(code="hook_invalid", reason=f"{error}{where}")
    if isinstance(error, SyntaxError):
        return Trouble(code="hook_invalid", reason=f"{error.filename}:{error.lineno}: {error.msg}")
    if doing == "loading":
        return Trouble(code="hook_invalid", reason=f"it cannot be loaded{where}: {words}")
    return Trouble(code="hook_failed", reason=f"{words}{where}")


def _place(error: BaseException, files: Mapping[str, str]) -> str:
    """Return file and line of the innermost frame in the author's own code."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name in files:
            found = f"{name}:{trace.tb_lineno} in {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return found


if __name__ == "__main__":
    with contextlib.suppress(struct.error, msgspec.DecodeError, BrokenPipeError):
        main()
