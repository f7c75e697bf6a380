"""Schedules: recurring fine-tunes, each start of which is a run of its own, and the triggers that start them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import kfp_server_api as kfp

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.job import DUE, DUE_LENGTH
from components.contract.model_reference import ModelReference, is_model_reference
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.connection import NotFound
from pipelines.cluster.submit import Version, ensure_experiment, ensure_version, run_parameters

_MAX_NAME = 63 - 1 - DUE_LENGTH

_EVERY = re.compile(r"(?P<count>[1-9][0-9]*)\s*(?P<unit>s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MIN_SECONDS = 60


@dataclass(frozen=True)
class Recurrence:
    """When runs are started, and how many at a time."""

    trigger: kfp.V2beta1Trigger
    max_concurrency: int
    catch_up: bool
    """Make up for every start that was missed while paused or because runs took longer."""


def create_schedule(
    client: ClusterClient, config: RunConfig, cluster: ClusterConfig, recurrence: Recurrence
) -> tuple[kfp.V2beta1RecurringRun, Version]:
    """Create a schedule with the name of the configuration's run; its runs have that name and the time they are due.

    Args:
        config: from `recurring_config`, checked against the cluster.

    Raises:
        InputError: a schedule of that name exists.
        ClusterUnavailable: the server does not respond.
    """
    name = config.run.name
    if found := next(client.recurring_runs(name), None):
        raise InputError(
            f"a schedule named {name} already exists ({found.recurring_run_id}, {schedule_state(found)}): delete it "
            f"with rapid schedule delete {name}, or choose another run.name"
        )
    version = ensure_version(client, config, cluster)
    parameters = {**run_parameters(config, cluster), "run": f"{name}-{DUE}"}
    body = kfp.V2beta1RecurringRun(
        display_name=name,
        experiment_id=ensure_experiment(client, config.tracking.experiment),
        namespace=client.namespace,
        pipeline_version_reference=version.reference,
        runtime_config=kfp.V2beta1RuntimeConfig(parameters=parameters),
        service_account=cluster.service_account,
        trigger=recurrence.trigger,
        max_concurrency=str(recurrence.max_concurrency),
        no_catchup=not recurrence.catch_up,
        mode="ENABLE",
    )
    return client.create_recurring_run(body), version


def recurring_config(config: RunConfig) -> RunConfig:
    """Return the configuration of every run of a schedule: all register versions of one model.

    If they start from a champion, it is the champion of that model.

    Raises:
        InputError: the name is too long to be followed by a time, or no run could ever replace the champion.
    """
    if len(config.run.name) > _MAX_NAME:
        raise InputError(
            f"run.name {config.run.name} is too long for a schedule: it may have at most {_MAX_NAME} characters, "
            "because each run appends its time"
        )
    path, tracking = config.model.path, config.tracking
    reference = ModelReference.parse(path) if is_model_reference(path) else None
    own = reference.name if reference else config.run.name
    if reference and not reference.is_fixed and not tracking.enabled:
        raise InputError(
            f"model.path is {path}, but tracking.enabled is false: new policies would never be registered, so every "
            "run would start from the same one"
        )
    if reference and not reference.is_fixed and tracking.model_name not in (None, own):
        raise InputError(
            f"model.path is {path}, but tracking.model_name is {tracking.model_name}: new policies would become "
            f"versions of another model, so every run would start from the same one; leave tracking.model_name out"
        )
    return config.model_copy(
        update={"tracking": tracking.model_copy(update={"model_name": tracking.model_name or own})}
    )


def find_schedule(client: ClusterClient, name: str) -> kfp.V2beta1RecurringRun:
    """Return the schedule of this name or ID. Raises NotFound, which names the existing ones."""
    if (found := next(client.recurring_runs(name), None)) is not None:
        return found
    schedules = list(client.recurring_runs())
    if (by_id := next((s for s in schedules if s.recurring_run_id == name), None)) is not None:
        return by_id
    names = ", ".join(sorted({schedule.display_name for schedule in schedules}))
    raise NotFound(f"{client.address} has no schedule named {name} ({f'it has {names}' if names else 'it has none'})")


def schedule_state(schedule: kfp.V2beta1RecurringRun) -> str:
    return "paused" if schedule.status == "DISABLED" else "enabled"


def make_trigger(cron: str | None, every: str | None, start: str | None, end: str | None) -> kfp.V2beta1Trigger:
    """Return the trigger of a schedule.

    Args:
        cron: five fields (minute hour day month weekday), six with the second before them, or a name such as @daily.
        every: an interval such as 30m, 12h or 1d.
        start: earliest start of a run, ISO 8601, in this machine's time zone unless it names one.
        end: latest start of a run, likewise.

    Raises:
        InputError: neither or both of `cron` and `every` are given, a value is invalid, or `end` is not after `start`
            and now.
    """
    if (cron is None) == (every is None):
        raise InputError("give either --cron '0 2 * * *' or --every 12h")
    begins, ends = _moment(start, "--start"), _moment(end, "--end")
    if ends and ends <= (begins or datetime.now(UTC)):
        raise InputError(
            f"--end {end} is not after {f'--start {start}' if start else 'now'}, so no run would ever start"
        )
    if cron is not None:
        return kfp.V2beta1Trigger(
            cron_schedule=kfp.V2beta1CronSchedule(cron=six_fields(cron), start_time=begins, end_time=ends)
        )
    return kfp.V2beta1Trigger(
        periodic_schedule=kfp.V2beta1PeriodicSchedule(
            interval_second=str(_interval(every or "")), start_time=begins, end_time=ends
        )
    )


def six_fields(cron: str) -> str:
    """Add the seconds to a cron expression.

    KFP's parser (robfig/cron 1, Parse) reads five fields as second to month, without the weekday: `0 2 * * *` would
    start a run every hour.

    Raises:
        InputError: the expression has another number of fields.
    """
    fields = cron.split()
    if len(fields) == 1 and cron.strip().startswith("@"):
        return cron.strip()
    if len(fields) not in (5, 6):
        raise InputError(
            f"--cron must have five fields, minute hour day month weekday ('0 2 * * *' is 2 o'clock every night), or "
            f"six with the second before them (got {len(fields)}: {cron!r})"
        )
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def describe_trigger(found: kfp.V2beta1Trigger | None) -> str:
    """Return a trigger as text, such as `every 12h`."""
    if found is None:
        return "once"
    if found.cron_schedule:
        return f"cron {found.cron_schedule.cron}"
    seconds = int(found.periodic_schedule.interval_second)
    for unit, size in reversed(_SECONDS.items()):
        if seconds % size == 0:
            return f"every {seconds // size}{unit}"
    raise AssertionError(seconds)


def trigger_bounds(found: kfp.V2beta1Trigger | None) -> tuple[datetime | None, datetime | None]:
    """Return the earliest and the latest start of a run."""
    schedule = (found.cron_schedule or found.periodic_schedule) if found else None
    return (schedule.start_time, schedule.end_time) if schedule else (None, None)


def _interval(every: str) -> int:
    match = _EVERY.fullmatch(every.strip())
    if match is None:
        raise InputError(f"--every must be a number with s, m, h, d or w, such as 12h (got {every!r})")
    seconds = int(match["count"]) * _SECONDS[match["unit"]]
    if seconds < _MIN_SECONDS:
        raise InputError(f"--every must be at least one minute (got {every})")
    return seconds


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise InputError(
            f"{option} must be a time such as 2026-12-01T02:00 or 2026-12-01T02:00+01:00 (got {text!r})"
        ) from None
