"""The files for cron and systemd are read by their own parsers, and what they start is there."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from crontab import CronTab

from batchseg.config.compare import NightConfig
from batchseg.config.load import read_config
from jobs.nightly import nightly

ROOT = Path(__file__).parent.parent.parent
JOBS = ROOT / "jobs"
HOME = "/srv/batchseg"  # where the files say the clone lies


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read_string((JOBS / name).read_text(encoding="utf-8"))
    return parser


def check_command(words: list[str]) -> None:
    """The Python of the clone, then a script of the repository with options that it has."""
    python, script, config, *flags = words
    assert python.removeprefix(f"{HOME}/") == ".venv/bin/python"
    assert (ROOT / script).is_file()
    assert config.endswith(".yaml")
    nightly.make_context("nightly", [config, *flags])


def test_crontab() -> None:
    table = CronTab(tabfile=str(JOBS / "crontab"))
    (job,) = table
    assert job.is_valid()
    assert job.is_enabled()
    assert job.frequency_per_day() == 1
    assert (str(job.hour), str(job.minute)) == ("2", "30")
    assert "%" not in job.command  # which cron reads as the end of a line
    folder, _, command = job.command.partition(" && ")
    assert shlex.split(folder) == ["cd", "$BATCHSEG"]
    assert table.env["BATCHSEG"] == HOME
    check_command(shlex.split(command))


def test_service_and_timer_belong_together() -> None:
    service, timer = unit("batchseg-nightly.service"), unit("batchseg-nightly.timer")
    assert (service["Service"]["Type"], service["Service"]["WorkingDirectory"]) == ("oneshot", HOME)
    check_command(shlex.split(service["Service"]["ExecStart"]))
    assert service["Unit"]["Documentation"] == f"file://{HOME}/jobs/README.md"
    assert timer["Timer"]["OnCalendar"] == "*-*-* 02:30:00"
    assert timer["Install"]["WantedBy"] == "timers.target"


# this parser comes with systemd alone; where there is none, the test above still holds what the units say
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_accepts_them(tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"  # what ExecStart names must exist
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/true")
    for name in ("batchseg-nightly.service", "batchseg-nightly.timer"):
        text = (JOBS / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(HOME, str(tmp_path)))
    units = [str(tmp_path / f"batchseg-nightly.{kind}") for kind in ("service", "timer")]
    words = ["systemd-analyze", "verify", "--man=no", *units]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "batchseg" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
    calendar = ["systemd-analyze", "calendar", unit("batchseg-nightly.timer")["Timer"]["OnCalendar"]]
    assert subprocess.run(calendar, capture_output=True, check=False).returncode == 0


def test_the_readme_names_every_file_and_no_other() -> None:
    text = (JOBS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in JOBS.iterdir() if path.is_file() and f"({path.name})" not in text] == [
        "README.md"
    ]


def test_the_example_is_a_night(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = read_config(NightConfig, "jobs/night.yaml")
    assert (config.source.kind, config.night.max_drop) == ("folder", {"mean_iou": 0.01})
    assert config.night.keep_nights == 3
