from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tidegate.monitor.metrics import collect, exposed, join, socket_path


def registry_with(count: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("tidegate_events_received_total", "Received.", ["connector"], registry=registry).labels("vendure").inc(
        count
    )
    Histogram("tidegate_intake_seconds", "Time.", buckets=(0.1, 1), registry=registry).observe(0.05)
    return registry


def samples_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_joining_keeps_every_sample_apart_by_process() -> None:
    texts = {f"door-{n}": generate_latest(registry_with(n)).decode() for n in (1, 2)}

    joined = join(texts)

    samples = samples_of(joined)
    name = "tidegate_events_received_total"
    assert samples[name, (("connector", "vendure"), ("process", "door-1"))] == 1
    assert samples[name, (("connector", "vendure"), ("process", "door-2"))] == 2
    assert samples["tidegate_intake_seconds_bucket", (("le", "0.1"), ("process", "door-1"))] == 1
    assert joined.count("# TYPE tidegate_events_received_total counter") == 1
    assert joined.count("# TYPE tidegate_intake_seconds histogram") == 1


def test_unreadable_text_of_one_process_spares_the_others() -> None:
    joined = join({"door-0": "a b c d\n", "door-1": generate_latest(registry_with(1)).decode()})

    assert 'process="door-1"' in joined
    assert "door-0" not in joined


@pytest.mark.asyncio
async def test_processes_answer_on_sockets_however_deep_the_folder_lies(tmp_path: Path) -> None:
    run_dir = tmp_path / ("deep" * 20) / ("deeper" * 20)
    run_dir.mkdir(parents=True)
    registry = CollectorRegistry()
    Gauge("tidegate_commands_open", "Open.", registry=registry).set(7)
    leftover = socket_path(run_dir, "apply", 0)
    leftover.touch()
    socket_path(run_dir, "web", 0).touch()  # a file that nobody serves

    async with exposed(leftover, registry):
        texts = await collect(run_dir)
        assert leftover.stat().st_mode & 0o777 == 0o600

    assert list(texts) == ["apply-0"]
    assert "tidegate_commands_open 7.0" in texts["apply-0"]
    assert not leftover.exists()
