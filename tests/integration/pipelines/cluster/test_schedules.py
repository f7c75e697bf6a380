"""Recurring fine-tunes: what is asked of Kubeflow, and what each firing then is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.contract.config import RunConfig
from components.contract.job import Job
from components.prepare.job_config import job_config
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.connection import Connection
from pipelines.cluster.runs import run_config
from tests.support.documented import undocumented
from tests.support.kfp_server import KfpServer

Rapid = Callable[..., "Said"]  # noqa: F821 - of conftest
NIGHTLY = ("run.name=nightly", "model.path=models:/adder@champion", "data.train=s3://bucket/prompts/")


def the_schedule(server: KfpServer) -> dict:
    (schedule,) = server.cluster.recurring.values()
    return schedule


def schedule(rapid: Rapid, config: Path, small: Path, *words: str) -> "Said":  # noqa: F821
    return rapid("schedule", config, *NIGHTLY, "--cluster", small, *words)


def test_each_night_on_the_newest_data_from_the_champion(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    said = schedule(rapid, config, small, "--cron", "0 2 * * *")
    assert said.status == 0, said.err
    made = the_schedule(server)
    # Five fields would be read without the weekday, as every hour.
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *"}}
    assert (made["max_concurrency"], made["no_catchup"], made["status"]) == ("1", True, "ENABLED")
    assert made["service_account"] == "rapid-stage"
    assert f"{server.url}/#/recurringrun/details/{made['recurring_run_id']}" in said.out
    assert "registers versions of the model adder" in said.out


def test_each_firing_is_a_run_of_its_own(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    schedule(rapid, config, small, "--every", "12h")
    made = the_schedule(server)
    assert made["trigger"] == {"periodic_schedule": {"interval_second": "43200"}}
    names = []
    for day in (1, 2):
        run = server.cluster.fire(made["recurring_run_id"], datetime(2026, 12, day, 2, 0, 5, tzinfo=UTC))
        assert run is not None
        prepared = resolved(server, run)
        names.append(prepared.run.name)
        assert prepared.run.name == f"nightly-2026120{day}-0200-{run['run_id'][:8]}"
        assert prepared.model.path == "models:/adder@champion"
        assert prepared.tracking.model_name == "adder"
        assert prepared.data.train == "s3://bucket/prompts/"
        assert run_config(ClusterClient(Connection(endpoint=server.url)).run(run["run_id"])) == prepared
        server.cluster.end(run["run_id"], "SUCCEEDED")
    assert [line.split()[0] for line in rapid("runs").out.splitlines()[1:]] == names[::-1]


def resolved(server: KfpServer, run: dict) -> RunConfig:
    """The configuration that prepare makes of its arguments in Kubeflow."""
    given = server.cluster.arguments(run["run_id"], "prepare")
    parameters = {name: given[name] for name in ("config", "run", "model", "data", "iterations")}
    return job_config(**parameters, job=Job(given["job"], given["job_name"], given["due"]))


def test_a_firing_that_failed_is_resumed_under_its_name(
    rapid: Rapid, team_server: KfpServer, config: Path, small: Path
) -> None:
    said = schedule(rapid, config, small, "--every", "1d", "--namespace", "team")
    assert said.status == 0, said.err
    fired = team_server.cluster.fire(
        the_schedule(team_server)["recurring_run_id"], datetime(2026, 12, 1, 2, tzinfo=UTC)
    )
    assert fired is not None
    assert fired["runtime_config"]["parameters"]["run"] == "nightly-{due}"
    assert "service_account" not in fired
    team_server.cluster.end(fired["run_id"], "FAILED")
    name = f"nightly-20261201-0200-{fired['run_id'][:8]}"
    said = rapid("resume", name, "--namespace", "team")
    assert said.status == 0, said.err
    again = list(team_server.cluster.runs.values())[-1]
    assert again["runtime_config"]["parameters"]["run"] == again["display_name"] == name
    assert again["service_account"] == "rapid-stage"
    assert resolved(team_server, again).run.name == name


def test_start_end_concurrency_and_catching_up(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    end = datetime.now(UTC) + timedelta(days=30)
    times = ("--start", "2026-12-01T02:00+01:00", "--end", end.isoformat())
    said = schedule(rapid, config, small, "--every", "90m", *times, "--max-concurrency", "3", "--catch-up")
    assert said.status == 0, said.err
    made = the_schedule(server)
    trigger = made["trigger"]["periodic_schedule"]
    assert trigger["interval_second"] == "5400"
    assert datetime.fromisoformat(trigger["start_time"]) == datetime(2026, 12, 1, 1, tzinfo=UTC)
    assert datetime.fromisoformat(trigger["end_time"]) == end
    assert (made["max_concurrency"], made["no_catchup"]) == ("3", False)
    assert "every 90m" in rapid("schedules").out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "give either --cron '0 2 * * *' or --every 12h"),
        (["--cron", "0 2 * * *", "--every", "1d"], "give either"),
        (["--cron", "0 2 *"], "must have five fields"),
        (["--cron", "0 25 * * *"], "Value out of range [0, 23]: 25"),
        (["--cron", "@nightly"], "Unrecognized descriptor: @nightly"),
        (["--every", "often"], "--every must be a number with s, m, h, d or w, such as 12h (got 'often')"),
        (["--every", "30s"], "--every must be at least one minute (got 30s)"),
        (["--every", "1d", "--start", "tomorrow"], "--start must be a time such as"),
        (["--every", "1d", "--end", "2020-01-01"], "is not after now, so no run would ever start"),
        (["--every", "1d", "tracking.enabled=false"], "every run would start from the same one"),
        (["--every", "1d", "tracking.model_name=other"], "leave tracking.model_name out"),
        (
            ["--every", "1d", "model.path=models:/adder/latest", "tracking.model_name=other"],
            "leave tracking.model_name",
        ),
        (["--every", "1d", f"run.name={'n' * 41}"], "is too long for a schedule: it may have at most 40 characters"),
        (["--every", "1d", "store=here"], "this configuration cannot run on a cluster"),
    ],
)
def test_what_cannot_recur_is_refused_in_one_line(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, words: list[str], reason: str
) -> None:
    said = schedule(rapid, config, small, *words)
    assert said.status == 2
    assert reason in said.error
    assert not server.cluster.recurring


@pytest.mark.parametrize("count", ["0", "11"])
def test_concurrency_beyond_what_kubeflow_takes(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, count: str
) -> None:
    said = schedule(rapid, config, small, "--every", "1d", "--max-concurrency", count)
    assert said.status == 2
    assert not server.requests


def test_pause_resume_and_delete(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    schedule(rapid, config, small, "--cron", "@daily")
    made = the_schedule(server)
    moment = datetime(2026, 12, 1, tzinfo=UTC)
    assert rapid("schedule", "pause", "nightly").out.strip() == "schedule nightly is paused"
    assert server.cluster.fire(made["recurring_run_id"], moment) is None
    assert "paused" in rapid("schedules").out
    assert rapid("schedule", "resume", made["recurring_run_id"]).out.strip() == "schedule nightly is enabled"
    run = server.cluster.fire(made["recurring_run_id"], moment)
    assert run is not None
    # No second one beside it.
    assert server.cluster.fire(made["recurring_run_id"], moment + timedelta(days=1)) is None
    listed = rapid("schedules").out.splitlines()
    assert listed[0] == "nightly: enabled, cron @daily"
    assert listed[1].startswith(f"  nightly-20261201-0000-{run['run_id'][:8]} running, ")
    assert "is deleted; its runs are kept" in rapid("schedule", "delete", "nightly").out
    assert not server.cluster.recurring
    assert server.cluster.runs[run["run_id"]]["state"] == "RUNNING"
    assert "has no schedules; create one with: rapid schedule CONFIG" in rapid("schedules").out


@pytest.mark.usefixtures("server")
def test_the_same_name_twice_and_an_unknown_one(rapid: Rapid, config: Path, small: Path) -> None:
    schedule(rapid, config, small, "--every", "1d")
    said = schedule(rapid, config, small, "--every", "2d")
    assert said.status == 2
    assert "a schedule named nightly already exists" in said.error
    assert "rapid schedule delete nightly" in said.error
    said = rapid("schedule", "pause", "nigthly")
    assert said.status == 2
    assert "has no schedule named nigthly (it has nightly)" in said.error


def test_a_mistyped_action_is_taken_for_a_file(rapid: Rapid, server: KfpServer) -> None:
    assert "psue does not exist" in rapid("schedule", "psue", "nightly").error
    assert not server.requests


def test_options_may_stand_before_the_configuration(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    assert rapid("schedule", "--every", "1d", "--cluster", small, config).status == 0
    assert the_schedule(server)["display_name"] == "adder"


def test_a_base_model_is_started_from_anew_and_all_runs_register_one_model(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    said = rapid("schedule", config, "--every", "1d", "--cluster", small)
    assert "each run starts from owner/model" in said.out
    fired = server.cluster.fire(the_schedule(server)["recurring_run_id"], datetime(2026, 12, 1, tzinfo=UTC))
    assert fired is not None
    run = ClusterClient(Connection(endpoint=server.url)).run(fired["run_id"])
    assert run_config(run).tracking.model_name == "adder"


def test_without_tracking_nothing_is_said_to_be_registered(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    said = rapid("schedule", config, "--every", "1d", "tracking.enabled=false", "--cluster", small)
    assert said.status == 0, said.err
    assert "registers" not in said.out
    assert server.cluster.recurring


def test_a_pinned_version_may_make_versions_of_another_model(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    words = ("model.path=models:/adder/3", "tracking.model_name=other", "--cluster", small)
    assert "registers versions of the model other" in rapid("schedule", config, "--every", "1d", *words).out
    assert server.cluster.recurring


@pytest.mark.usefixtures("moto")
def test_the_last_runs_are_listed_with_why_they_failed(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    schedule(rapid, config, small, "--every", "1d")
    made = the_schedule(server)
    for day in range(1, 6):
        run = server.cluster.fire(made["recurring_run_id"], datetime(2026, 12, day, tzinfo=UTC))
        assert run is not None
        if day == 4:
            server.cluster.stage(run["run_id"], "prepare", "FAILED")
        if day == 5:
            server.cluster.terminate_run(run["run_id"])
        server.cluster.end(run["run_id"], "SUCCEEDED" if day < 4 else "FAILED")
    states = [line.split()[1].rstrip(",") for line in rapid("schedules").out.splitlines() if line.startswith("  night")]
    assert states == ["cancelled", "failed", "succeeded"]
    assert "    prepare failed without leaving a reason" in rapid("schedules").out.splitlines()
    assert not undocumented(rapid("schedules").out, "kubernetes/running.md")
