"""Summary of a shard's outcomes while it is graded, and the limit on failures."""

import math
import time
from array import array
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa

from components.contract.errors import InputError
from components.contract.schemas import STATUSES
from components.results.warnings import MANY_FAILED

_ALL_FAILED_ROWS = 64


class TooManyFailed(InputError):
    """The graders do not fit the completions, or are broken."""


class ShardSummary:
    """Counts per status and rewards per split of one shard."""

    def __init__(self, total: int, max_failed_share: float) -> None:
        self.total = total
        self.seen = 0
        self.counts: Counter[str] = Counter()
        self._max_failed_share = max_failed_share
        self._rewards: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._first_detail: dict[str, str] = {}
        self._begin = time.monotonic()
        self._resumed = 0

    def add(self, status: str, split: str, reward: float, detail: str | None) -> None:
        """Add a graded completion."""
        self.seen += 1
        self.counts[status] += 1
        # As stored, so that a resumed shard reports the same means.
        self._rewards[split].append(float(np.float32(reward)))
        if detail:
            self._first_detail.setdefault(status, detail)

    def add_part(self, rewards: pa.Table, trajectories: pa.Table) -> None:
        """Add a part that an earlier start has graded."""
        columns = (rewards["status"], trajectories["split"], rewards["reward"], rewards["detail"])
        for row in zip(*(column.to_pylist() for column in columns), strict=True):
            self.add(*row)
        self._resumed += rewards.num_rows

    def check(self) -> None:
        """Check the limit on failures.

        Raises:
            TooManyFailed: more than `reward.max_failed_share` of the shard's rows failed, or all of the first 64 rows.
        """
        failed = self.seen - self.counts["ok"]
        hopeless = self._max_failed_share < 1 and self.seen >= _ALL_FAILED_ROWS and not self.counts["ok"]
        if failed <= self._max_failed_share * self.total and not hopeless:
            return
        status, count = max(((s, self.counts[s]) for s in STATUSES if s != "ok"), key=lambda item: item[1])
        raise TooManyFailed(
            f"{failed} of {self.seen} completions could not be graded "
            f"(reward.max_failed_share is {self._max_failed_share:.0%} of {self.total}), most with status {status} "
            f"({count}): {self._first_detail.get(status, 'no detail')}; fix the grader or the data and start the "
            "same command again"
        )

    def progress(self) -> str:
        """Return rate and counts, such as `2,310/s, ok 96, timeout 4`."""
        rate = (self.seen - self._resumed) / max(1e-3, time.monotonic() - self._begin)
        counts = [f"{status} {self.counts[status]}" for status in STATUSES if self.counts[status]]
        return ", ".join([f"{rate:,.0f}/s", *counts])

    def warnings(self) -> list[str]:
        """Return reasons to look at these rewards before training on them."""
        found = []
        failed = self.seen - self.counts["ok"]
        if failed > MANY_FAILED * self.seen:
            counts = ", ".join(f"{self.counts[s]} {s}" for s in STATUSES if s != "ok" and self.counts[s])
            detail = next(
                (self._first_detail[s] for s in STATUSES if s != "ok" and s in self._first_detail), "no detail"
            )
            found.append(f"{failed} of {self.seen} completions could not be graded: {counts}; {detail}")
        for split, rewards in self._rewards.items():
            if len(rewards) > 1 and min(rewards) == max(rewards):
                found.append(f"all {len(rewards)} {split} completions earned the same reward, {rewards[0]:g}")
        return found

    def facts(self) -> dict[str, str | int | float | bool | None]:
        """Return facts for the manifest: rows, rows per status, mean reward per split (None without rows)."""
        return {
            "rows": self.seen,
            **{status: self.counts[status] for status in STATUSES},
            "reward_train": _mean(self._rewards["train"]),
            "reward_eval": _mean(self._rewards["eval"]),
        }


def _mean(values: "array[float]") -> float | None:
    return math.fsum(values) / len(values) if values else None
