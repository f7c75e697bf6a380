"""One trial: a run or a single stage is disturbed, and what it made is compared with the run that was left alone."""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.kills import Command, Execution, Outcome
from benchmarks.faults.runs import ITERATIONS, Content, RunFiles, base_policy, compare, content
from components.contract.layout import Round
from components.pod.supervisor import STAGES
from components.store.files import TEMPORARY

_SETTINGS = ("plain", "staleness", "shards", "processes", "lora", "bf16", "code")
_KILLS = {"pod": 24, "workers": 24, "tasks": 8, "rapid-pod": 8}
"""The most kills of a whole run, by layout; `rapid-pod` is `rapid run` itself in that layout."""

_PACES = (0.25, 0.5, 1.0)
"""Seldom kills let a run come far, frequent ones hit its start."""

_STAGE_SETTINGS = {
    "prepare": ("plain",),
    "rollout": ("plain", "parts", "bf16"),
    "reward": ("parts", "code"),
    "train": ("plain", "parts", "staleness", "processes", "lora", "bf16"),
    "publish": ("plain",),
    "rescore": ("plain", "code"),
}
_STAGE_SHARES = {"prepare": 0.06, "rollout": 0.2, "reward": 0.06, "train": 0.2, "publish": 0.06, "rescore": 0.06}
"""About the share of a stage in the time of the run that was left alone."""

_LAST = Round.iteration(ITERATIONS)


@dataclass(frozen=True)
class Alone:
    """A run that was left alone: what it holds, and the seconds that it took."""

    files: RunFiles
    content: Content
    seconds: float

    @property
    def run_content(self) -> Content:
        """All but the rewards that were given later."""
        return {key: value for key, value in self.content.items() if key[0] != "rescored"}


class Workplace:
    """A directory with the base policy, and a run of each setting that was left alone.

    Args:
        scratch: the directory; runs that are there already are not made again.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.words = base_policy(scratch)
        self._alone: dict[str, Alone] = {}

    def alone(self, setting: str) -> "Alone":
        """Return the run of a setting that was left alone."""
        if setting not in self._alone:
            files = RunFiles(self.scratch / f"alone-{setting}", self.words, setting)
            seconds = files.folder / "seconds"
            if not seconds.exists():
                self._leave_alone(files, seconds)
            self._alone[setting] = Alone(files, content(files.run), float(seconds.read_text()))
        return self._alone[setting]

    @staticmethod
    def _leave_alone(files: RunFiles, seconds: Path) -> None:
        begin = time.monotonic()
        rescoring = files.rapid("rescore", files.run.uri, "reward=exact")
        phases = [*files.whole("rapid-pod"), [rescoring]]
        outcome = Execution(files.log, files.folder / "tmp").run(phases, [0, 0], 1.0, random.Random())
        if outcome.problem or outcome.left:
            raise SystemExit(f"undisturbed: {outcome.problem} {outcome.left}\n{files.log.read_text()}")
        seconds.write_text(str(time.monotonic() - begin))


@dataclass(frozen=True)
class Trial:
    """The place, the draws and the directory of one trial."""

    workplace: Workplace
    chance: random.Random
    folder: Path

    def compared(
        self, files: RunFiles, theirs: Content, outcome: Outcome, given: Content | None = None
    ) -> dict[str, Any]:
        """Return how the commands went, and what the run holds beside what it should and beside what was given."""
        ours = content(files.run)
        left = [path.name for path in (files.folder / "store").rglob(f"{TEMPORARY}*")]
        return {
            "faults": dict(outcome.faults),
            "starts": outcome.starts,
            "problem": outcome.problem,
            "left": outcome.left + left,
            **compare(ours, theirs, given or {}),
        }


Case = Callable[[Trial], dict[str, Any]]


def kill_cases() -> dict[str, Case]:
    """Return the cases in which processes are killed, by name: kill/<layout or stage>/<setting>."""
    cases: dict[str, Case] = {}
    for layout in _KILLS:
        for setting in ("plain",) if layout == "rapid-pod" else _SETTINGS:
            # In layout tasks an iteration is sampled only once the one before has trained.
            if (layout, setting) != ("tasks", "staleness"):
                cases[f"kill/{layout}/{setting}"] = partial(_kill_whole, layout, setting)
    for stage, settings in _STAGE_SETTINGS.items():
        for setting in settings:
            cases[f"kill/{stage}/{setting}"] = partial(_kill_stage, stage, setting)
    return cases


def _kill_whole(layout: str, setting: str, trial: Trial) -> dict[str, Any]:
    alone, most = trial.workplace.alone(setting), _KILLS[layout]
    files = RunFiles(trial.folder, trial.workplace.words, setting)
    copies = [] if layout == "tasks" else [files.stage(stage, "--follow") for stage in STAGES]
    prepare = files.prepare() if layout == "workers" else None
    execution = Execution(files.log, files.folder / "tmp", prepare=prepare, copies=copies)
    interval = 2 * alone.seconds / most * trial.chance.choice(_PACES)
    phases, kills = files.whole(layout), [trial.chance.randint(most // 3, most)]
    if len(phases) > 1:  # prepare, the loop, publish
        kills = [trial.chance.randint(0, 2), *kills, trial.chance.randint(0, 1)]
    outcome = execution.run(phases, kills, interval, trial.chance)
    return trial.compared(files, alone.run_content, outcome)


def _kill_stage(stage: str, setting: str, trial: Trial) -> dict[str, Any]:
    """Make a stage's output of the last iteration again, in a copy of the run elsewhere."""
    alone = trial.workplace.alone(setting)
    files = RunFiles(trial.folder, trial.workplace.words, setting)
    shutil.copytree(alone.files.folder / "store", files.folder / "store")
    command = _stage_command(stage, files)
    given = content(files.run)
    execution = Execution(files.log, files.folder / "tmp")
    interval = alone.seconds * _STAGE_SHARES[stage] * trial.chance.choice(_PACES)
    outcome = execution.run([[command]], [trial.chance.randint(2, 6)], interval, trial.chance)
    return trial.compared(files, alone.content, outcome, given)


def _stage_command(stage: str, files: RunFiles) -> Command:
    """Remove what a stage has made for the last iteration, and return the command that makes it again."""
    layout = files.run.layout
    match stage:
        case "prepare":
            for key in (layout.prompts, layout.policy(0)):
                files.run.directory(key).discard()
            files.run.store.delete(layout.config)
            return files.prepare()
        case "rescore":
            shutil.rmtree(files.folder / "store" / layout.rescored_root("").rstrip("/"))
            return files.rapid("rescore", files.run.uri, "reward=exact")
        case "publish":
            files.run.directory(layout.report).discard()
            return files.stage("publish")
        case "train":
            files.run.directory(layout.train(_LAST.number)).discard()
            return files.stage("train", "--iteration", str(_LAST.number))
    key = layout.rollout(_LAST, 0) if stage == "rollout" else layout.reward(_LAST, 0)
    files.run.directory(key).discard()
    return files.stage(stage, "--round", str(_LAST))
