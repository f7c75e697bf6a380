"""Attempts: each start of a stage's worker has a number, and the highest is the one that writes."""

from dataclasses import dataclass
from uuid import uuid4

from components.contract.errors import InputError
from components.contract.layout import attempt_name, attempt_number
from components.store.base import ObjectExists, Store


class NoLongerWanted(InputError):
    """This process is to write nothing more, though nothing has failed."""


class Superseded(NoLongerWanted):
    """A later start of the same worker has taken over."""


@dataclass(frozen=True)
class Attempt:
    """One start of a worker.

    Attributes:
        directory: key of the worker's directory, which holds a claim for each of its starts.
        number: from 1.
    """

    store: Store
    directory: str
    number: int

    @classmethod
    def claim(cls, store: Store, directory: str) -> "Attempt":
        """Claim the next number. Of several that claim at once each gets its own."""
        claims = (info.key.removeprefix(f"{directory}/") for info in store.list(directory))
        number = max((n for name in claims if (n := attempt_number(name)) is not None), default=0) + 1
        token = uuid4().hex.encode()
        while True:
            try:
                # With a content of its own: a repeated request must not take another process's claim for its own.
                store.create(f"{directory}/{attempt_name(number)}", token)
            except ObjectExists:
                number += 1
            else:
                return cls(store, directory, number)

    @property
    def folder(self) -> str:
        """The folder, in each output, of what this attempt writes."""
        return attempt_name(self.number)

    def require_newest(self) -> None:
        """Raise Superseded where a later attempt has begun."""
        if self.store.exists(f"{self.directory}/{attempt_name(self.number + 1)}"):
            worker = self.directory.rsplit("/", 1)[-1]
            raise Superseded(
                f"attempt {self.number} of worker {worker} stops: attempt {self.number + 1} has taken over its work"
            )
