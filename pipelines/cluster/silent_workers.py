"""Workers of a run that are not heard of, in words: before they start, and when they fall silent."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from components.contract.manifest import now
from components.contract.section import StageName
from components.runtime.failure import read_failure
from components.runtime.heartbeat import BEAT_SECONDS, Beat, Silence, read_beat
from components.store import Run
from components.store.attempt_logs import read_logs

_LOOK_SECONDS = 30.0
_FIRST_SECONDS = 180.0
"""The first silence that is worth a line; the next line comes when it has doubled."""

CLOCKS = timedelta(minutes=1)
"""The clocks of the server and of pods may differ by this."""

_NEEDS: dict[StageName, str] = {"rollout": "a GPU", "reward": "a node", "train": "a GPU"}


def workers_of(run: Run) -> list[str]:
    """Return the directories of the workers that a run has in the layouts `workers` and `pod`."""
    shards = range(run.config.rollout.shards)
    sampling: tuple[StageName, ...] = ("rollout", "reward")
    return [*(run.layout.worker(stage, shard) for stage in sampling for shard in shards), run.layout.worker("train")]


class SilentWorkers:
    """Says which workers are silent, on this process's clock, each again when its silence has doubled.

    Args:
        since: when the run was started the last time; heartbeats of earlier processes count for nothing.
    """

    def __init__(self, run: Run, since: datetime) -> None:
        self._run, self._since = run, since
        self._started = False
        self._silence = Silence(run.store, workers_of(run))
        self._next: dict[str, float] = {}
        self._launcher: Beat | None = None
        self._waits_for = ""
        self._looked = float("-inf")

    def lines(self) -> Iterator[str]:
        """Yield what is new; nothing in layout tasks, whose stages have no heartbeats, once one has started.

        Raises:
            InputError: the store cannot be read.
        """
        moment = time.monotonic()
        if moment - self._looked < _LOOK_SECONDS:
            return
        self._looked = moment
        yield from self._training_job()
        heard = [(seconds, worker, _of_start(beat, self._since)) for seconds, worker, beat in self._silence.each()]
        if not any(beat for _, _, beat in heard):
            seconds, limit = heard[0][0], self._next.get("", _FIRST_SECONDS)
            self._started = self._started or (seconds >= limit and _any_began(self._run, self._since))
            if seconds >= limit and not self._started:
                self._next[""] = 2 * limit
                yield f"no stage has started for {seconds / 60:.0f} min: the pods may be waiting for nodes or images"
            return
        for seconds, worker, beat in heard:
            limit = self._next.get(worker, _FIRST_SECONDS)
            if beat and beat.state == "ended":
                continue
            if seconds >= limit:
                self._next[worker] = 2 * limit
                yield silence_line(worker, seconds, beat)
            elif seconds < _FIRST_SECONDS and worker in self._next:
                del self._next[worker]
                yield f"{worker_name(worker)} is heard of again: {activity(beat)}"

    def _training_job(self) -> Iterator[str]:
        """Yield what a training job waits for, once for each reason, as long as its launcher lives."""
        beat = read_beat(self._run.store, self._run.layout.launcher)
        alive = beat and self._launcher and beat.count != self._launcher.count
        self._launcher = beat
        if beat and alive and beat.state == "waiting" and beat.detail != self._waits_for:
            self._waits_for = beat.detail
            yield f"train waits {beat.detail}"


def _of_start(beat: Beat | None, since: datetime) -> Beat | None:
    """Return a beat if its process began in this start of the run."""
    return beat if beat and beat.started >= since - CLOCKS else None


def _any_began(run: Run, since: datetime) -> bool:
    """Return whether any stage behind prepare has begun in this start of the run, in whatever layout."""
    records = (log.record for log in read_logs(run.store, run.layout))
    return any(record.stage != "prepare" and record.started >= since - CLOCKS for record in records)


def _last_start(run: Run) -> datetime:
    """Return when the run was prepared the last time; a run that goes on is prepared again."""
    prepared = [log.record.started for log in read_logs(run.store, run.layout, "prepare")]
    return max(prepared, default=run.directory(run.layout.prompts).require().timings.started)


def worker_name(worker: str) -> str:
    return worker.rpartition("/")[2]


def activity(beat: Beat | None) -> str:
    return f"{beat.state} {beat.detail}".strip() if beat else "not started"


def silence_line(worker: str, seconds: float, beat: Beat | None) -> str:
    """Return a line such as `train has not started for 6 min: its pod may be waiting for a GPU`."""
    name, minutes = worker_name(worker), f"{seconds / 60:.0f} min"
    needs = next(need for stage, need in _NEEDS.items() if name.startswith(stage))
    if beat is None:
        return f"{name} has not started for {minutes}: its pod may be waiting for {needs}"
    return f"{name} has been silent for {minutes}: its pod may be gone, or waiting for {needs}"


def unfinished_lines(run: Run) -> Iterator[str]:
    """Yield the failure of a run that has not finished, or what each of its workers says of itself.

    Workers may be processes of one machine or pods. Looks at the heartbeats twice, so it takes some seconds where there
    are any.
    """
    if failure := read_failure(run):
        yield f"failed: {failure.stage}: {failure.message}"
        return
    workers = [*workers_of(run), run.layout.launcher]
    beats = {worker: read_beat(run.store, worker) for worker in workers}
    if not any(beats.values()):
        return
    since = _last_start(run)
    before = {worker: _of_start(beat, since) for worker, beat in beats.items()}
    minutes = f"{(now() - since).total_seconds() / 60:.0f} min"
    if not any(before.values()) and not _any_began(run, since):
        yield f"no stage has started for {minutes}"
    if all(beat is None or beat.state == "ended" for beat in before.values()):
        return
    time.sleep(BEAT_SECONDS + 1)
    for worker in workers:
        beat = _of_start(read_beat(run.store, worker), since)
        if beat is None and worker == run.layout.launcher:
            continue
        if beat is None:
            yield f"{worker_name(worker)} has not started for {minutes}"
        elif beat.state != "ended" and beat == before[worker]:
            yield f"{worker_name(worker)} is silent, so its process has probably ended; it was {activity(beat)}"
        else:
            again = f" (attempt {beat.attempt})" if beat.attempt > 1 else ""
            yield f"{worker_name(worker)}: {activity(beat)}{again}"
