"""A store that waits for object storage which does not answer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.store import ObjectExists, ObjectMissing, Store, open_store
from components.store.base import StoreUnavailable
from components.store.local import LocalStore
from components.store.patient import PatientStore


class Away(LocalStore):
    """A directory that does not answer the next requests; `after` says that it does what was asked all the same."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.failing = 0
        self.after = False

    def answer(self, use: Callable[[], None] = lambda: None) -> None:
        if self.failing:
            self.failing -= 1
            if self.after:
                use()
            raise StoreUnavailable("cannot reach http://s3:8333 for s3://bucket; check the network")

    def read(self, key: str) -> bytes:
        self.answer()
        return super().read(key)

    def create(self, key: str, data: bytes) -> None:
        self.answer(lambda: super(Away, self).create(key, data))
        super().create(key, data)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without making them."""
    pauses: list[float] = []
    monkeypatch.setattr("components.store.patient.time.sleep", pauses.append)
    monkeypatch.setattr("components.store.patient.time.monotonic", lambda: sum(pauses))
    return pauses


@pytest.fixture
def away(tmp_path: Path) -> Away:
    return Away(tmp_path)


def test_an_outage_is_waited_for_and_named_once(
    away: Away, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    away.write("a", b"x")
    away.failing = 5
    assert PatientStore(away, 600).read("a") == b"x"
    assert clock == [1, 2, 4, 8, 15]
    assert capsys.readouterr().err.splitlines() == [
        "cannot reach http://s3:8333 for s3://bucket; check the network; waiting for it, up to 10 min",
        f"{away.uri} answers again after 30 s",
    ]


def test_waiting_ends(away: Away, clock: list[float]) -> None:
    away.failing = 1000
    with pytest.raises(StoreUnavailable, match=r"check the network \(waited for 10 min\)$"):
        PatientStore(away, 600).read("a")
    assert sum(clock) <= 600


def test_what_waiting_does_not_fix_is_raised_at_once(away: Away, clock: list[float]) -> None:
    with pytest.raises(ObjectMissing):
        PatientStore(away, 600).read("a")
    assert not clock


@pytest.mark.usefixtures("clock")
def test_what_a_lost_request_created_is_ours(away: Away) -> None:
    patient = PatientStore(away, 600)
    away.failing, away.after = 1, True
    patient.create("a", b"mine")
    with pytest.raises(ObjectExists):
        patient.create("a", b"mine")
    away.failing, away.after = 1, False
    with pytest.raises(ObjectExists):
        patient.create("a", b"of another")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 600),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "RAPID_PATIENCE_MINUTES": "0"}, None),
        ({"RAPID_PATIENCE_MINUTES": "0.5"}, 30),
    ],
)
def test_who_waits(environment: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "RAPID_PATIENCE_MINUTES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store: Store = open_store("s3://bucket/prefix")
    assert (store._seconds if isinstance(store, PatientStore) else None) == seconds
    assert not isinstance(open_store("runs"), PatientStore)


def test_a_limit_that_is_no_number_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPID_PATIENCE_MINUTES", "long")
    with pytest.raises(InputError, match="RAPID_PATIENCE_MINUTES must be a number of minutes"):
        open_store("s3://bucket/prefix")


def test_a_store_that_overwrites_in_spite_of_the_condition_is_refused(tmp_path: Path) -> None:
    class Careless(LocalStore):
        def create(self, key: str, data: bytes) -> None:
            self.write(key, data)

    store = Careless(tmp_path)
    with pytest.raises(InputError, match=r"store.uri must name a store with conditional writes"):
        store.check_writable("runs")
    assert not store.list("")
