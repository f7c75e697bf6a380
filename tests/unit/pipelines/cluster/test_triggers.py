"""Triggers as people write them, and as Kubeflow receives them."""

from datetime import UTC, datetime

import pytest

from components.contract.errors import InputError
from pipelines.cluster.schedules import describe_trigger, make_trigger, six_fields, trigger_bounds
from tests.support.kfp_server.cron import check_cron


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        ("*/30 * * * mon-fri", "0 */30 * * * mon-fri"),
        ("15 0 2 * * ?", "15 0 2 * * ?"),
        ("@daily", "@daily"),
    ],
)
def test_cron_gets_its_seconds(written: str, given: str) -> None:
    assert six_fields(written) == given
    check_cron(given)


@pytest.mark.parametrize("written", ["", "* * * *", "* * * * * * *", "daily"])
def test_other_numbers_of_fields_are_refused(written: str) -> None:
    with pytest.raises(InputError, match="must have five fields"):
        six_fields(written)


@pytest.mark.parametrize(
    ("every", "seconds", "words"),
    [
        ("90s", 90, "every 90s"),
        ("30m", 1800, "every 30m"),
        ("120m", 7200, "every 2h"),
        ("12h", 43200, "every 12h"),
        ("1d", 86400, "every 1d"),
        ("2 w", 1209600, "every 2w"),
    ],
)
def test_intervals(every: str, seconds: int, words: str) -> None:
    made = make_trigger(None, every, None, None)
    assert made.periodic_schedule.interval_second == str(seconds)
    assert describe_trigger(made) == words


@pytest.mark.parametrize("every", ["0h", "h", "12", "-1d", "1.5h", "1h30m"])
def test_invalid_intervals(every: str) -> None:
    with pytest.raises(InputError, match=rf"--every must be a number with .* \(got '{every}'\)"):
        make_trigger(None, every, None, None)


def test_times_are_sent_in_utc() -> None:
    made = make_trigger("0 2 * * *", None, "2026-12-01T02:00+01:00", "2999-01-01T00:00:00Z")
    assert trigger_bounds(made) == (datetime(2026, 12, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC))
    assert trigger_bounds(make_trigger("0 2 * * *", None, None, None)) == (None, None)


def test_an_end_before_the_start() -> None:
    with pytest.raises(InputError, match="is not after --start"):
        make_trigger(None, "1d", "2999-01-02", "2999-01-01")


@pytest.mark.parametrize("cron", ["60 * * * * *", "0 0 0 32 * *", "0 0 0 * jam *", "0 5-3 * * * *", "@noon", "x x"])
def test_the_servers_parser_refuses_what_kubeflows_does(cron: str) -> None:
    with pytest.raises(ValueError):
        check_cron(cron)
