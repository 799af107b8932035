"""Hooks in their process (E9): whatever one does is the answer to its own order; the worker's memory stays bounded.

Real processes, hostile hooks. No database.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from tests.mapbed import ORDER, SHIPMENT, compiled, order_of, refusal_of

from tidegate.commerce.commands import CreateOrder
from tidegate.mapping import hook_host
from tidegate.mapping.apply import Refused
from tidegate.mapping.hook_host import HookHost
from tidegate.mapping.records import Hooks

pytestmark = pytest.mark.asyncio

HEAD = """\
import os, sys, time
from decimal import Decimal
from tidegate.sdk.flows import Hold, Send, Skip, decide, transform

"""
SLOW = Hooks(deadline="60s", memory="64MB", options={"review_above": 20})
"""For hooks whose own end is waited for, on a busy machine too."""
SHORT = Hooks(deadline="300ms", options={"review_above": 20})


def order_hook(body: str) -> str:
    """Return a module whose hook of the whole order has this body; its first line is line 7."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f'{HEAD}@transform("orders")\ndef change(order, cfg):\n{lines}\n'


async def ask(
    source: str,
    places: Mapping[str, str] | None = None,
    *,
    hooks: Hooks = SLOW,
    times: int = 1,
    tables: Mapping[str, object] | None = None,
    is_approved: bool = False,
) -> CreateOrder | Refused:
    files = {"flows.py": source}
    maps, problems = compiled(places or {"order": "flows:change"}, files=files, hooks=hooks, tables=tables)
    assert problems == []
    host = HookHost(maps, hooks, files)
    try:
        for _ in range(times):
            result = await host.run(maps.orders, ORDER, {}, is_approved=is_approved)
    finally:
        await host.close()
    assert isinstance(result, CreateOrder | Refused)
    return result


HOSTILE = {
    "loop": ("while True: pass", "hook_timeout", "flows.py:7 in change"),
    "sleep": ("time.sleep(60)", "hook_timeout", "flows.py:7 in change"),
    "swallow": ("while True:\n    try: time.sleep(1)\n    except BaseException: pass", "hook_timeout", "did not react"),
    "slow regex": ("import re; re.match('(a+)+$', 'a' * 40 + 'b')", "hook_timeout", "flows.py:7"),
    "loop in C": ("sum(range(10 ** 12))", "hook_timeout", "did not react"),
    "2 GB": ("x = bytearray(2 << 30); return order", "hook_memory", "flows.py:7 in change"),
    "grow": ("x = []\nwhile True: x.append('y' * (1 << 20) + str(len(x)))", "hook_memory", "flows.py:8"),
    "raise": ("raise ValueError('no such box')", "hook_failed", "ValueError: no such box at flows.py:7 in change"),
    "raise badly": (
        "class Odd(Exception):\n    def __str__(self): raise RuntimeError\nraise Odd", "hook_failed", "Odd at flows.py:9"
    ),
    "base exception": ("raise BaseException('x')", "hook_failed", "BaseException: x"),
    "exit": ("sys.exit(0)", "hook_failed", "SystemExit"),
    "os._exit": ("os._exit(3)", "hook_failed", "ended its process with status 3"),
    "fork": ("os.fork()", "hook_failed", "may not do this: os.fork"),
    "process": ("import subprocess; subprocess.run(['true'])", "hook_failed", "may not do this: subprocess.Popen"),
    "network": ("import socket; socket.socket()", "hook_failed", "may not do this: socket"),
    "read": ("open('/etc/passwd')", "hook_failed", "may not open files"),
    "write": ("open('/tmp/x', 'w')", "hook_failed", "may not open files"),
    "climb": ("open(sys.prefix + '/../' * 20 + 'etc/passwd')", "hook_failed", "may not open files"),
    "flags": ("os.open(os.__file__, os.O_RDWR)", "hook_failed", "may not open files"),
    "kill": ("os.kill(os.getppid(), 9)", "hook_failed", "may not do this: os.kill"),
    "crash": ("import ctypes; ctypes.string_at(0)", "hook_failed", "ended with signal"),
    "close": ("os.closerange(0, 200)\nreturn order", "hook_failed", ""),
    "garbage": (
        "for fd in range(3, 30):\n    try: os.write(fd, b'garbage' * 9)\n    except OSError: pass\nreturn order",
        "hook_invalid", "no answer",
    ),
    "huge": ("return order.replace(note='x' * (3 << 20))", "hook_invalid", "larger than 1 MB"),
    "long": ("return order.replace(note='x' * 5000)", "hook_invalid", "'note' of the result"),
    "number": ("return 5", "hook_invalid", "returned a int"),
    "nothing": ("pass", "hook_invalid", "returned a NoneType"),
    "float": ("return order.replace(note=1.5)", "hook_invalid", "order.note is a float: use Decimal"),
    "bool": ("return order.replace(note=True)", "hook_invalid", "order.note is a bool"),
    "function": ("return order.replace(note=change)", "hook_invalid", "order.note is a function"),
    "cycle": ("x = {}\nx['x'] = x\nreturn order.replace(fields=x)", "hook_invalid", "nested too deep"),
    "total": ("return order.replace(total=Decimal('1'))", "hook_invalid", "'total' was changed"),
    "reference": ("return order.replace(reference='x')", "hook_invalid", "'reference' was changed"),
    "customer": (
        "return order.replace(customer=order.customer.replace(id='1'))", "hook_invalid", "'customer.id' was changed"
    ),
    "no lines": ("return order.replace(lines=[])", "hook_invalid", "'lines' of the result"),
    "lost line": ("return order.replace(lines=order.lines[:1])", "hook_invalid", "the line of 007 is gone"),
    "money": (
        "a, b = order.lines\nreturn order.replace(lines=[a, b.replace(total=b.total - 1)])", "hook_invalid",
        "the parts of 007 add up to 9.00, and the line is worth 10.00",
    ),
    "no units": (
        "return order.replace(lines=[l.replace(quantity=0) for l in order.lines])", "hook_invalid", "'lines[0].quantity'"
    ),
    "field": ("return order.replace(fields={'No Name!': 'x'})", "hook_invalid", "is no name of a field"),
    "typo": ("return order.replace(nots='x')", "hook_failed", "did you mean 'note'?"),
    "in place": ("order.note = 'x'", "hook_failed", "use replace(note=...)"),
    "missing module": ("import nosuchmodule", "hook_failed", "No module named 'nosuchmodule'"),
    "recursion": ("def again(): again()\nagain()", "hook_failed", "RecursionError"),
    "threads": (
        "import threading\nfor _ in range(999): threading.Thread(target=time.sleep, args=(99,)).start()", "hook_", ""
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
async def test_a_hostile_hook_fails_its_own_order_with_the_reason_and_its_line(name: str) -> None:
    body, code, words = HOSTILE[name]
    refused = refusal_of(await ask(order_hook(body), hooks=SHORT if "timeout" in code else SLOW))
    assert refused.kind == "fail"
    assert refused.code.startswith(code)
    assert words in refused.reason


async def test_after_each_kind_of_failure_the_next_order_is_served() -> None:
    source = order_hook(
        "if 'loop' in order.note:\n    while True: pass\n"
        "if 'big' in order.note: bytearray(2 << 30)\n"
        "if 'raise' in order.note: raise ValueError\n"
        "if 'end' in order.note: os._exit(1)\n"
        "return order.replace(note='done')"
    )
    files = {"flows.py": source}
    settings = Hooks(deadline="5s")
    maps, _ = compiled({"order": "flows:change"}, files=files, hooks=settings)
    host = HookHost(maps, settings, files)

    async def one(note: str) -> str:
        result = await host.run(maps.orders, msgspec.structs.replace(ORDER, note=note), {})
        return result.code if isinstance(result, Refused) else result.note  # type: ignore[union-attr]

    try:
        notes = ["loop", "", "big", "", "raise", "", "end", ""]
        assert await asyncio.gather(*(one(note) for note in notes)) == [
            "hook_timeout", "done", "hook_memory", "done", "hook_failed", "done", "hook_failed", "done"
        ]  # fmt: skip
    finally:
        await host.close()


async def test_the_worker_does_not_grow_with_what_hooks_take() -> None:
    """Forty orders whose hooks take what they can, and return what they can: the worker's own memory stays."""
    before = _resident_bytes()
    for body in ("x = bytearray(2 << 30)", "return order.replace(note='x' * (64 << 20))", "print('x' * (64 << 20))"):
        await ask(order_hook(body), hooks=SLOW, times=12)
    assert _resident_bytes() - before < 64 << 20


async def test_a_hook_sees_no_environment_and_no_descriptor_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_DATABASE_URL", "postgresql://secret")
    secret = os.open(Path(__file__), os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        body = (
            "kept = []\n"
            "for fd in range(3, 300):\n"
            "    try: kept.append(str(os.fstat(fd).st_mode >> 12))\n"
            "    except OSError: pass\n"
            "return order.replace(note=','.join(kept) + ' ' + ' '.join(sorted(os.environ)))"
        )
        note = order_of(await ask(order_hook(body))).note
    finally:
        os.close(secret)
    kinds, _, environment = note.partition(" ")
    assert set(kinds.split(",")) == {"1"}  # pipes, and nothing else
    assert len(kinds.split(",")) == 2
    assert environment in ("LC_ALL", "LC_ALL LC_CTYPE", "LC_CTYPE")


async def test_no_process_is_left_behind() -> None:
    pids: list[int] = []
    start = hook_host._Process.start

    async def noted() -> hook_host._Process:
        process = await start()
        pids.append(process._process.pid)
        return process

    hook_host._Process.start = noted  # type: ignore[method-assign]
    try:
        for name in ("loop", "garbage", "os._exit", "close", "2 GB"):
            await ask(order_hook(HOSTILE[name][0]), hooks=SHORT, times=2)
    finally:
        hook_host._Process.start = start  # type: ignore[method-assign]
    assert len(pids) >= 8
    assert not [pid for pid in pids if _lives(pid)]


async def test_gift_boxes_are_exploded_and_their_money_is_split_to_the_cent() -> None:
    source = HEAD + (
        '@transform("orders.lines")\n'
        "def explode(line, cfg):\n"
        "    parts = cfg.boxes.get(line.sku)\n"
        "    if parts is None: return line\n"
        "    return [line.replace(sku=p['sku'], quantity=int(p['qty']) * line.quantity) for p in parts]\n"
    )
    tables = {"boxes": {"csv": "boxes.csv", "rows": True}}
    files = {"flows.py": source, "boxes.csv": "box,sku,qty\nBOX,A,2\nBOX,C,1\n"}
    maps, problems = compiled({"lines": "flows:explode"}, files=files, tables=tables)
    assert problems == []
    host = HookHost(maps, SLOW, files)
    try:
        order = order_of(await host.run(maps.orders, ORDER, {}))  # type: ignore[arg-type]
    finally:
        await host.close()
    assert [(line.reference, line.sku, line.quantity, line.unit_price, line.total_minor) for line in order.lines] == [
        ("lin_1+1", "A", 2, "3.335", 667), ("lin_1", "C", 1, "3.34", 334), ("lin_2", "007", 2, "5", 1000)
    ]  # fmt: skip
    assert [line.item_external_id for line in order.lines] == ["", "", "8"]
    assert order.total_minor == ORDER.total_minor


async def test_a_hook_that_changes_nothing_changes_nothing() -> None:
    assert order_of(await ask(order_hook("return order"))) == ORDER
    same = "return order.replace(lines=[l.replace() for l in order.lines], customer=order.customer.replace())"
    assert order_of(await ask(order_hook(same))) == ORDER


async def test_what_hooks_change_reaches_the_payload() -> None:
    body = (
        "return order.replace(note='n', number='N' + order.number, shipping_method='DHL', fields={'branch': '7'},\n"
        "  customer=order.customer.replace(ref='C1'), shipping=order.shipping.replace(city='Bonn'))"
    )
    order = order_of(await ask(order_hook(body)))
    assert (order.note, order.number, order.shipping_ref, order.fields) == ("n", "N0001001", "DHL", {"branch": "7"})
    assert (order.customer_ref, order.private.shipping_address.city) == ("C1", "Bonn")
    assert order.private.shipping_address.name == "Ana Müller"


@pytest.mark.parametrize(
    ("verdict", "kind", "code"),
    [("Hold('manual review')", "hold", "held"), ("Skip('a test order')", "skip", "skipped_by_hook"), ("Hold()", "hold", "held")],
)  # fmt: skip
async def test_decide_holds_or_skips_with_its_reason(verdict: str, kind: str, code: str) -> None:
    source = HEAD + (
        f'@decide("orders")\ndef to_erp(order, cfg):\n    if order.total > Decimal(str(cfg.review_above)): return {verdict}\n'
    )
    refused = refusal_of(await ask(source, {"decide": "flows:to_erp"}))
    assert (refused.kind, refused.code) == (kind, code)
    assert refused.reason
    if kind == "hold":
        assert order_of(await ask(source, {"decide": "flows:to_erp"}, is_approved=True)) == ORDER
    relaxed = Hooks(deadline="60s", options={"review_above": 5000})
    assert order_of(await ask(source, {"decide": "flows:to_erp"}, hooks=relaxed)) == ORDER


async def test_a_decision_that_is_none_is_invalid() -> None:
    source = HEAD + '@decide("orders")\ndef to_erp(order, cfg):\n    return "hold"\n'
    assert refusal_of(await ask(source, {"decide": "flows:to_erp"})).code == "hook_invalid"


async def test_shipments_may_be_held_too() -> None:
    source = HEAD + '@decide("shipments")\ndef ok(shipment, cfg):\n    return Hold(shipment.carrier)\n'
    files = {"flows.py": source}
    maps, _ = compiled(shipments={"decide": "flows:ok"}, files=files)
    host = HookHost(maps, SLOW, files)
    try:
        assert refusal_of(await host.run(maps.shipments, SHIPMENT, {})).reason == "dhl"
    finally:
        await host.close()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def change(", "flows.py:1: "),
        ("raise ValueError('x')", "it cannot be loaded at flows.py:1 in <module>: ValueError: x"),
        ("import nosuch", "No module named 'nosuch'"),
        ("x = 1", "flows has no 'change'"),
        ("def change(order, cfg): return order", 'is not marked: write @transform("orders") above it'),
        ("x = bytearray(2 << 30)", "more memory than it may at flows.py:1"),
    ],
)
async def test_a_module_that_cannot_be_loaded_says_where(source: str, words: str) -> None:
    refused = refusal_of(await ask(source, times=2))
    assert words in refused.reason
    assert refused.code in ("hook_invalid", "hook_memory")


async def test_a_package_of_the_author_is_imported_with_its_neighbours() -> None:
    files = {
        "acme/flows.py": "from acme.parts import NOTE\nfrom tidegate.sdk.flows import transform\n"
        '@transform("orders")\ndef change(order, cfg):\n    return order.replace(note=NOTE)\n',
        "acme/parts.py": "NOTE = 'from a neighbour'\n",
    }
    maps, problems = compiled({"order": "acme.flows:change"}, files=files)
    assert problems == []
    host = HookHost(maps, SLOW, files)
    try:
        assert order_of(await host.run(maps.orders, ORDER, {})).note == "from a neighbour"  # type: ignore[arg-type]
    finally:
        await host.close()


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
