"""`tidegate rehearse`: a whole installation between simulated platforms, on a small and bad day."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidegate.rehearsal.figures import KEYS

SMALL = ["--orders", "24", "--seconds", "3", "--skus", "8", "--errors", "0.02", "--replies-lost", "0.02"]


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for what rehearsals of this test make, with a path short enough for sockets: others rehearse meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="tr-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(folder))
    yield
    shutil.rmtree(folder, ignore_errors=True)


def rehearse(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start it in a folder; everything that it starts is in that folder's temporary directory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tidegate", "rehearse", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def folders() -> set[Path]:
    return set(Path(os.environ["TMPDIR"]).glob("tdg-*/rehearsal"))


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=400)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_small_day_ends_with_all_books_in_agreement(tmp_path: Path) -> None:
    """Duplicates, reordering, drops, lost replies and errors; a kill; and nothing lost, doubled or oversold."""
    process = rehearse(
        tmp_path,
        *SMALL,
        "--kill",
        "dispatch@0.5",
        "--json",
        str(tmp_path / "r.json"),
        "--html",
        str(tmp_path / "r.html"),
    )

    out, err = finished(process)

    assert process.returncode == 0, f"{out}\n{err}"
    figures = json.loads(out.splitlines()[-1])
    assert tuple(figures)[: len(KEYS)] == KEYS
    assert (figures["orders"], figures["lost"], figures["doubled"], figures["oversold"]) == (24, 0, 0, 0)
    assert (figures["conservation_imbalance"], figures["stock_wrong"], figures["is_clean"]) == (0, 0, True)
    assert len(figures["kills"]) == 1
    report: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    assert report["profile"] == "smoke"
    assert "<svg" in (tmp_path / "r.html").read_text()


MONEY = """
connections:
  shop: {use: shopify, url: "https://shop.example.com", transactions: "yes"}
  erp: {use: tryton, url: "https://erp.example.com", database: tryton}
  pay: {use: stripe}
owns: {stock.on_hand: erp, shipment: erp, payment: pay}
flows:
  orders:    {from: [shop], to: erp, since: 2026-01-01}
  shipments: {from: erp, to: origin, capture: pay}
  payments:  {from: pay}
  stock:     {from: erp, to: [shop]}
"""


def test_a_configuration_with_a_payment_provider_is_played_with_money(tmp_path: Path) -> None:
    """R58: what ships is captured, once, though webhooks of shop and provider are dropped and answers are lost."""
    (tmp_path / "tidegate.yaml").write_text(MONEY)
    small = (
        "--orders",
        "8",
        "--seconds",
        "2",
        "--skus",
        "4",
        "--dropped",
        "0.3",
        "--replies-lost",
        "0.1",
        "--errors",
        "0",
    )

    out, err = finished(rehearse(tmp_path, *small))

    assert process_is_clean(out), f"{out}\n{err}"
    figures = json.loads(out.splitlines()[-1])
    assert figures["orders"] == 8
    assert figures["captured"] >= 1, "the warehouse ships while people shop"
    assert (figures["captured_twice"], figures["refunded_twice"], figures["shipped_without_capture"]) == (0, 0, 0)


def process_is_clean(out: str) -> bool:
    return bool(out) and json.loads(out.splitlines()[-1])["is_clean"]


def test_ten_times_too_much_with_kills_exceeds_no_limit(tmp_path: Path) -> None:
    """R36, I14b: the short form of the load `overload`. By the platforms' own count nothing is exceeded or refused, and every
    process that was killed is back. Whether all arrives in the end is what the other days show: nobody waits for it here."""
    day = {"like": "overload", "orders": 120, "seconds": 10, "killing": {"every_seconds": 2.5}, "drain_seconds": 1}
    (tmp_path / "short.json").write_text(json.dumps(day))
    process = rehearse(tmp_path, "--profile", "short.json")

    out, err = finished(process)

    figures = json.loads(out.splitlines()[-1])
    assert process.returncode in (0, 1), f"{out}\n{err}"
    assert (figures["violations"], figures["answers_429"]) == (0, 0), f"{out}\n{err}"
    assert (figures["killed"], figures["came_back"]) == (4, 4), f"{out}\n{err}"
    assert (figures["doubled"], figures["conservation_imbalance"]) == (0, 0), f"{out}\n{err}"
    assert {name: each["violations"] for name, each in figures["platforms"].items()} == dict.fromkeys(
        ("shop", "web", "pos", "erp"), 0
    )


def test_ctrl_c_ends_everything_that_was_started(tmp_path: Path) -> None:
    """In the middle of the start: no process and no folder is left."""
    before = folders()
    process = rehearse(tmp_path, *SMALL)
    ours = psutil.Process(process.pid)
    deadline = time.monotonic() + 240
    while not (new := folders() - before) or not any((folder / "run" / "state.json").exists() for folder in new):
        assert time.monotonic() < deadline, "it never started"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    started = [ours, *ours.children(recursive=True)]
    state = json.loads(
        next(folder for folder in new if (folder / "run" / "state.json").exists())
        .joinpath("run", "state.json")
        .read_text()
    )
    pids = [state["supervisor"]["pid"], *(child["pid"] for child in state["children"])]

    process.send_signal(signal.SIGINT)
    out, err = finished(process)

    assert process.returncode == 130, f"{out}\n{err}"
    psutil.wait_procs(started, timeout=20)
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            assert not psutil.Process(pid).is_running() or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not {folder for folder in new if folder.exists()}


@pytest.mark.parametrize(
    ("arguments", "word", "status"),
    [
        (["--profile", "nothing"], "there is no load profile 'nothing'", 78),
        (["--profile", "missing.yaml"], "cannot be read", 78),
        (["--kill", "nobody@0.5"], "write ROLE@SHARE", 64),
        (["--html", "no/such/folder.html"], "is no folder", 78),
        (["--project", "nowhere"], "has no tidegate.yaml", 78),
        (["--dropped", "2"], "not in the range", 64),
    ],
)
def test_what_cannot_run_is_said_before_anything_starts(
    tmp_path: Path, arguments: list[str], word: str, status: int
) -> None:
    """With a next step, and no folder made."""
    before = folders()
    process = rehearse(tmp_path, *arguments)
    out, err = finished(process)
    assert process.returncode == status, f"{out}\n{err}"
    assert word in err
    assert folders() == before
