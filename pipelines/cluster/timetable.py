"""When a schedule fires, from what a person writes to what Kubeflow Pipelines takes."""

import re
from datetime import UTC, datetime

import kfp_server_api as kfp

from components.contract.errors import InputError

_EVERY = re.compile(r"(?P<count>[1-9][0-9]*)\s*(?P<unit>s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LEAST_SECONDS = 60


def trigger(cron: str | None, every: str | None, start: str | None, end: str | None) -> kfp.V2beta1Trigger:
    """The trigger of a recurring run.

    Args:
        cron: five fields as everywhere (minute hour day month weekday), six with seconds before them, or @daily and
            the like.
        every: 30m, 12h, 1d.
        start: first moment it may fire, ISO 8601; in this machine's time zone unless it names one.
        end: last moment.

    Raises:
        InputError: neither or both of cron and every, a text that is no such time, an end that is no later than the
            start or now.
    """
    if (cron is None) == (every is None):
        raise InputError("say when: either --cron '0 2 * * *' or --every 12h")
    begins, ends = _moment(start, "--start"), _moment(end, "--end")
    if ends and ends <= (begins or datetime.now(UTC)):
        raise InputError(f"--end {end} is not after {f'--start {start}' if start else 'now'}, so it would never fire")
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
    """A cron expression with its seconds.

    KFP's parser (robfig/cron 1, Parse) takes five fields for seconds to month without the weekday: `0 2 * * *` would
    fire every hour.

    Raises:
        InputError: another number of fields.
    """
    fields = cron.split()
    if len(fields) == 1 and cron.strip().startswith("@"):
        return cron.strip()
    if len(fields) not in (5, 6):
        raise InputError(
            f"--cron {cron!r} has {len(fields)} fields; write five, minute hour day month weekday ('0 2 * * *' is 2 "
            "o'clock every night), or six with the second before them"
        )
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def in_words(found: kfp.V2beta1Trigger | None) -> str:
    """A trigger as it is shown."""
    if found is None:
        return "once"
    if found.cron_schedule:
        return f"cron {found.cron_schedule.cron}"
    seconds = int(found.periodic_schedule.interval_second)
    for unit, size in reversed(_SECONDS.items()):
        if seconds % size == 0:
            return f"every {seconds // size}{unit}"
    raise AssertionError(seconds)


def bounds(found: kfp.V2beta1Trigger | None) -> tuple[datetime | None, datetime | None]:
    """First and last moment at which it may fire."""
    schedule = (found.cron_schedule or found.periodic_schedule) if found else None
    return (schedule.start_time, schedule.end_time) if schedule else (None, None)


def _interval(every: str) -> int:
    match = _EVERY.fullmatch(every.strip())
    if match is None:
        raise InputError(f"--every {every!r} is no interval; write a number and s, m, h, d or w, such as 12h")
    seconds = int(match["count"]) * _SECONDS[match["unit"]]
    if seconds < _LEAST_SECONDS:
        raise InputError(f"--every {every} is less than a minute, which no fine-tune takes")
    return seconds


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise InputError(f"{option} {text!r} is no time; write 2026-12-01T02:00 or 2026-12-01T02:00+01:00") from None
