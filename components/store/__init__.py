"""Object storage behind one small interface, and what is kept in it."""

from components.store.attempts import Attempt, NoLongerWanted, Superseded
from components.store.base import ObjectExists, ObjectInfo, ObjectMissing, Store, StoreUnavailable
from components.store.cancellation import RunCancelled
from components.store.commit import OutputDirectory, StageOutput
from components.store.run import Run, open_run, run_uri, split_run_uri
from components.store.schemes import open_store

__all__ = [
    "Attempt",
    "NoLongerWanted",
    "ObjectExists",
    "ObjectInfo",
    "ObjectMissing",
    "OutputDirectory",
    "Run",
    "RunCancelled",
    "StageOutput",
    "Store",
    "StoreUnavailable",
    "Superseded",
    "open_run",
    "open_store",
    "run_uri",
    "split_run_uri",
]
