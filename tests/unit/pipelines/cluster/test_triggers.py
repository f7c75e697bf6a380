"""What people write for a time, and what Kubeflow is given."""

from datetime import UTC, datetime

import pytest

from components.contract.errors import InputError
from pipelines.cluster.triggers import bounds, in_words, six_fields, trigger
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
    with pytest.raises(InputError, match="write five"):
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
    made = trigger(None, every, None, None)
    assert made.periodic_schedule.interval_second == str(seconds)
    assert in_words(made) == words


@pytest.mark.parametrize("every", ["0h", "h", "12", "-1d", "1.5h", "1h30m"])
def test_texts_that_are_no_interval(every: str) -> None:
    with pytest.raises(InputError, match=f"--every '{every}' is no interval"):
        trigger(None, every, None, None)


def test_times_are_sent_in_utc() -> None:
    made = trigger("0 2 * * *", None, "2026-12-01T02:00+01:00", "2999-01-01T00:00:00Z")
    assert bounds(made) == (datetime(2026, 12, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC))
    assert bounds(trigger("0 2 * * *", None, None, None)) == (None, None)


def test_an_end_before_the_start() -> None:
    with pytest.raises(InputError, match="is not after --start"):
        trigger(None, "1d", "2999-01-02", "2999-01-01")


@pytest.mark.parametrize("cron", ["60 * * * * *", "0 0 0 32 * *", "0 0 0 * jam *", "0 5-3 * * * *", "@noon", "x x"])
def test_the_servers_parser_refuses_what_kubeflows_does(cron: str) -> None:
    with pytest.raises(ValueError):
        check_cron(cron)
