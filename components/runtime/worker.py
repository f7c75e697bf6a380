"""A worker: a process that serves one stage for every iteration of a run.

Workers communicate through the store only.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from components.contract.errors import InputError
from components.contract.layout import Round, manifest_key
from components.contract.section import StageName
from components.runtime.clock import process_age
from components.runtime.failure import RunFailed, check_failure, report_failure
from components.runtime.heartbeat import Heartbeat, Silence
from components.runtime.processes import tell_parent
from components.runtime.progress import begin_round, note
from components.runtime.replaced import InputsReplaced
from components.store import Attempt, NoLongerWanted, Run

SILENCE_VARIABLE = "RAPID_SILENCE_MINUTES"
"""Limit of a worker's silence, by default 30: pods wait for nodes."""

_POLL_SECONDS, _FAST_SECONDS, _MOST_SECONDS, _GROWTH = 0.25, 10.0, 2.0, 1.25
"""A wait looks every 0.25 s for 10 s, then ever more rarely, up to every 2 s."""

_LOOK_SECONDS = 2.0
_MAKERS: dict[StageName, StageName] = {"rollout": "train", "reward": "rollout", "train": "reward"}
"""The stage that makes what a stage waits for."""

Task = tuple[Round, int | None]
"""A round, and a shard where the stage has shards."""


class Worker:
    """One start of a worker. A context manager that claims its attempts and ends its heartbeat.

    An InputError that leaves the block ends the whole run: it is left in the run for the other workers, unless it came
    from there, or a later attempt has taken over.

    Args:
        shards: the shards that this process serves, one after the other; None for all. The train stage has none.
        joins: the attempt of a worker of several processes, which the first of them has claimed and speaks for.
    """

    def __init__(
        self, run: Run, stage: StageName, shards: Sequence[int] | None = None, joins: Attempt | None = None
    ) -> None:
        self.run, self.stage = run, stage
        everything = range(run.config.rollout.shards) if shards is None else shards
        self._shards: Sequence[int | None] = [None] if stage == "train" else everything
        self._joins = joins
        self._attempts: dict[int | None, Attempt] = {}
        self._done: dict[int | None, Round] = {}
        self._policies = _Policies(run)
        self._silence_minutes = float(os.environ.get(SILENCE_VARIABLE, "30"))

    def __enter__(self) -> Self:
        age = process_age()  # belongs to no iteration
        self._attempts = {shard: self._joins or self.run.claim(self.stage, shard) for shard in self._shards}
        self._stack = ExitStack()
        speaks_for = [] if self._joins else list(self._attempts.values())
        self._heartbeat = self._stack.enter_context(Heartbeat(speaks_for, age))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tell_parent("working")  # releasing what was loaded has to end some time too
        if isinstance(error, InputError) and not isinstance(error, NoLongerWanted | RunFailed):
            report_failure(self.run, self.stage, str(error))
        self._stack.__exit__(kind, error, trace)

    def attempt(self, shard: int | None = None) -> Attempt:
        return self._attempts[shard]

    def loaded(self) -> None:
        """Note that everything that stays loaded is there."""
        self._heartbeat.loaded()

    def serve_shards(self, make: Callable[[Round, int, Attempt], object]) -> None:
        """Call `make` for every task of a stage with shards; what was replaced meanwhile comes again.

        Raises:
            InputError: as `tasks` and `make`.
        """
        for round_, shard in self.tasks():
            assert shard is not None
            try:
                make(round_, shard, self.attempt(shard))
            except InputsReplaced as replaced:
                note(str(replaced))
            self.loaded()

    def tasks(self) -> Iterator[Task]:
        """Yield every round and shard to do, each once its inputs are committed.

        Begins at the first iteration that is not trained; ends after the final evaluation, for the train stage after
        the last iteration. Where the run stops at `loop.target_reward`, what was sampled ahead is left alone. A task
        comes again while its output is not committed, and where the train stage, which repeated an iteration after a
        kill, has discarded that output with the policy it was made from.

        Raises:
            RunFailed: another worker has failed for good, or was silent for too long.
            Superseded: a later start of this worker has taken over.
        """
        run, last = self.run, self.run.config.loop.iterations
        for number in range(run.trained() + 1, last + 1):
            for shard in self._shards:
                yield from self._serve(Round.iteration(number), shard)
            if self._policies.stopped:
                break
        if self.stage == "train":
            return
        yield from self._wait(run.layout.policy(last), "train", [None], f"policy {last}", may_stop=True)
        final = run.final_round()
        for shard in self._shards:
            yield from self._serve(final, shard)
        if last > 0:  # until then what was sampled from the last policy may be discarded
            what = f"the end of iteration {last:04d} train"
            yield from self._wait(run.layout.train(last), "train", [None], what, may_stop=True)

    def _serve(self, round_: Round, shard: int | None) -> Iterator[Task]:
        """Yield a task once its inputs are committed, until its output is."""
        while (yield from self._await(round_, shard)):
            label = self.run.label(self.stage, round_, shard or 0)
            self._heartbeat.say("working", label)
            begin_round(label)
            tell_parent("working")
            yield round_, shard
            if self._is_done(round_, shard):
                tell_parent("committed")
                self._done[shard] = round_
                return

    def _is_done(self, round_: Round, shard: int | None) -> bool:
        layout = self.run.layout
        if shard is None:
            return self.run.store.exists(manifest_key(layout.train(round_.number)))
        directory = layout.rollout if self.stage == "rollout" else layout.reward
        return self.run.store.exists(manifest_key(directory(round_, shard)))

    def _await(self, round_: Round, shard: int | None) -> Generator[Task, None, bool]:
        """Wait for the inputs of a round; False where the run has stopped before it."""
        layout, maker = self.run.layout, _MAKERS[self.stage]
        if self.stage == "rollout":
            version = self.run.sampled_policy(round_)
            return (yield from self._wait(layout.policy(version), maker, [None], f"policy {version}", round_.trains))
        directory = layout.rollout if self.stage == "reward" else layout.reward
        shards = range(self.run.config.rollout.shards) if shard is None else [shard]
        for s in shards:
            what = self.run.label(maker, round_, s)
            if not (yield from self._wait(directory(round_, s), maker, shards, what, round_.trains)):
                return False
        return True

    def _wait(
        self, directory: str, maker: StageName, shards: Sequence[int | None], what: str, may_stop: bool
    ) -> Generator[Task, None, bool]:
        """Wait until a directory is committed; meanwhile listen to the workers that are to make it.

        Args:
            maker, shards: the workers.
            what: says for people what is waited for.
            may_stop: whether to give up when the run stops at `loop.target_reward`; then the result is False.

        Yields:
            The last task of a shard again, where its output has been discarded.
        """
        silence = Silence(self.run.store, [self.run.layout.worker(maker, shard) for shard in shards])
        began = looked = time.monotonic()
        pause, is_waiting = _POLL_SECONDS, False
        while True:
            self._policies.look()
            if may_stop and self._policies.stopped:
                return False
            if self.run.store.exists(manifest_key(directory)):
                return True
            if not is_waiting:
                is_waiting = True
                self._heartbeat.say("waiting", f"for {what}")
                tell_parent("waiting")
            time.sleep(pause)
            moment = time.monotonic()
            if moment - began > _FAST_SECONDS:
                pause = min(_MOST_SECONDS, pause * _GROWTH)
            if moment - looked >= _LOOK_SECONDS:
                looked = moment
                self._check(silence)
                for shard, round_ in list(self._done.items()):
                    if not self._is_done(round_, shard):
                        is_waiting = False
                        yield from self._serve(round_, shard)

    def _check(self, silence: Silence) -> None:
        check_failure(self.run)
        for attempt in self._attempts.values():
            attempt.require_newest()
        seconds, worker, beat = silence.look()
        if seconds > 60 * self._silence_minutes:
            name = worker.rsplit("/", 1)[-1]
            last = f"; its last words: {beat.state} {beat.detail}".rstrip() if beat else ", and never was"
            message = f"worker {name} has not been heard of for {seconds / 60:.0f} min{last}"
            report_failure(self.run, self.stage, message, lost=True)
            raise RunFailed(message)


class _Policies:
    """The newest committed policy, followed one by one, and whether the run has stopped at its target."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.newest = 0
        self.stopped = False
        self._begun = False

    def look(self) -> None:
        """Take note of policies that were committed since the last look: one request where there is none.

        A policy may be withdrawn at any moment, so that each manifest is read once.
        """
        if not self._begun:
            self.newest, self._begun = self._run.policy_version(), True
        while not self.stopped and self._run.store.exists(manifest_key(self._run.layout.policy(self.newest + 1))):
            manifest = self._run.policy(self.newest + 1).manifest()
            if manifest is None:
                return
            if manifest.holds_policy:
                self.newest += 1
            else:
                self.stopped = True
