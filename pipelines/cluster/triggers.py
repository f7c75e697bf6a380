"""Triggers of schedules, from command-line options to Kubeflow Pipelines."""

import re
from datetime import UTC, datetime

import kfp_server_api as kfp

from components.contract.errors import InputError

_EVERY = re.compile(r"(?P<count>[1-9][0-9]*)\s*(?P<unit>s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MIN_SECONDS = 60


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
