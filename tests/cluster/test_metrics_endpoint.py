"""What Prometheus sees of a run: counters that move, and every name that the dashboard shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import ROOT, Nodes
from submitting import IMAGES, let_through, open_gate, start, wait_for

pytestmark = [pytest.mark.slow]


def samples(nodes: Nodes, results: str) -> Iterator[tuple[str, str, float]]:
    """Name, labels and value of what the head's endpoint says of a results folder."""
    for line in nodes.metrics().splitlines():
        found = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if found and f'results="{results}"' in found[2]:
            yield found[1], found[2], float(found[3])


def value(nodes: Nodes, results: str, name: str, label: str = "") -> float:
    found = (value for known, labels, value in samples(nodes, results) if known == name and label in labels)
    return sum(found)


def test_the_counters_move_while_a_run_goes_on(nodes: Nodes, gated: Path, tmp_path: Path) -> None:
    results = str(tmp_path / "out")

    def done() -> float:
        return value(nodes, results, "ray_batchseg_images_total", 'status="ok"')

    with start(nodes, gated) as process:
        try:
            wait_for(lambda: done() > 0, process)
            before = done()
            wait_for(lambda: value(nodes, results, "ray_batchseg_images_waiting") == IMAGES - before, process)
            assert value(nodes, results, "ray_batchseg_actors") == 2
            assert value(nodes, results, "ray_batchseg_stage_seconds_total", 'stage="segment"') > 0
            wait_for(lambda: done() > before or (let_through(tmp_path / "gate") and False), process)
            named = set(re.findall(r"\bray_\w+", (ROOT / "jobs" / "grafana_dashboard.json").read_text()))
            wait_for(lambda: all(name in nodes.metrics() for name in named), process)
            open_gate(tmp_path)
            output, errors = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, output + errors
