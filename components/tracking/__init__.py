"""MLflow as a view of a run: derived from its committed outputs, so that it can be sent late or again."""

from components.tracking.models import register, register_once
from components.tracking.registered_policy import RegisteredPolicy, find_policy
from components.tracking.server import tracking_uri, tracking_uri_of, wait_for_server
from components.tracking.state import Registration, TrackingState, read_state
from components.tracking.sync import TRACKING_VARIABLE, sync

__all__ = [
    "TRACKING_VARIABLE",
    "RegisteredPolicy",
    "Registration",
    "TrackingState",
    "find_policy",
    "read_state",
    "register",
    "register_once",
    "sync",
    "tracking_uri",
    "tracking_uri_of",
    "wait_for_server",
]
