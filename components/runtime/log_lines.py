"""The output of a process as the lines of its log: without secrets, colours and the frames of progress bars."""

import re
import time
from collections.abc import Sequence

from components.contract.credentials import without_secrets
from components.contract.manifest import now
from components.runtime.progress import read_event

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ERROR = "error: "
_MOST_CHARACTERS = 16384
_PROGRESS_SECONDS = 15.0


class LogLines:
    """Turns a process's lines into those of its log, each with the time in UTC before it.

    Args:
        secrets: values that are replaced.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._progress: dict[str, float] = {}
        self._error = self._raised = self._last = ""
        self._in_traceback = False

    def line(self, data: bytes) -> bytes:
        """Return what the log keeps of a line; nothing of blank ones and of events that only move a bar."""
        # A bar's frames end with a carriage return, so that the last one overwrites the others.
        text = data.decode(errors="replace").rstrip().rpartition("\r")[2]
        event = read_event(text)
        if event:
            text = self._said(event)
        if not text:
            return b""
        # Cut afterwards, so that no secret is cut in two.
        text = without_secrets(_COLOURS.sub("", text), self._secrets)[:_MOST_CHARACTERS]
        if text.startswith(_ERROR):
            self._error = text.removeprefix(_ERROR)
        elif not event:
            self._read_traceback(text)
            self._last = text
        return f"{now():%m-%d %H:%M:%S} {text}\n".encode()

    def reason(self, status: int) -> str:
        """Return why a process says that it ended with an exit status: its error, or a traceback's last line."""
        if status > 0 and self._error:
            return self._error
        # Warnings may follow a traceback, such as those about leaked semaphores.
        return (self._raised or self._last).strip()[:300] if status == 1 else ""

    def _read_traceback(self, text: str) -> None:
        if text.startswith("Traceback "):
            self._in_traceback = True
        elif self._in_traceback and not text.startswith(" "):
            self._in_traceback = False
            self._raised = text

    def _said(self, event: dict[str, object]) -> str:
        match event:
            case {"rapid": "note", "text": str(text)}:
                return text
            case {"rapid": "round", "label": str(label)}:
                return f"{label} begins"
            case {"rapid": "error", "message": str(message)}:
                return f"{_ERROR}{message}"
            case {"rapid": "progress", "label": str(label), "done": int(done), "total": int(total)}:
                moment = time.monotonic()
                if done != total and moment - self._progress.get(label, moment - _PROGRESS_SECONDS) < _PROGRESS_SECONDS:
                    return ""
                self._progress[label] = moment
                return f"{label}: {done}/{total} {event.get('unit', '')} {event.get('stats', '')}".rstrip()
        return ""
