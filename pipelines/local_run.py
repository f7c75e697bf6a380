"""A run of the pipeline on this machine, in a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from components.contract.config import RunConfig
from components.contract.digests import json_digest
from components.contract.layout import RunLayout
from components.contract.resolve import config_json
from components.pod.supervisor import is_finished
from components.runtime.progress import EVENTS_VARIABLE, read_event
from components.runtime.scratch import make_scratch, temporary_files_in
from components.store import Run, open_store
from pipelines.cluster.cluster_config import local_cluster
from pipelines.cluster.cluster_sections import Layout

_STOP_SECONDS = 10


class LocalRun:
    """One execution of the pipeline. A context manager that ends every process on exit.

    The output of the stages goes to `log`. Only that is left in the working directory, and only where the run has
    failed; the next start of the run removes it.

    Raises:
        InputError: the layout cannot hold the run.
    """

    def __init__(self, config: RunConfig, layout: Layout = "pod") -> None:
        self._config = config
        self._cluster = local_cluster(config.loop, layout)
        self._process: subprocess.Popen[str] | None = None
        self.succeeded = self._failed = False

    def __enter__(self) -> "LocalRun":
        run = Run(open_store(self._config.store.uri), RunLayout(self._config.run.name), self._config)
        request = {
            "config": config_json(self._config),
            "cluster": self._cluster.model_dump(),
            "starts_workers": self._cluster.layout == "pod" and not is_finished(run),
        }
        # Short, because sockets below it have paths of at most 107 bytes.
        kind = f"rapid-{self._config.run.name[:20]}-{json_digest(run.uri)[:8]}-"
        self.workdir, self._lock = make_scratch(kind)
        self.log = self.workdir / "run.log"
        try:
            self._process = self._start(request)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, request: dict[str, Any]) -> "subprocess.Popen[str]":
        (self.workdir / "run.json").write_text(json.dumps(request), encoding="utf-8")
        temporary = self.workdir / "tmp"
        temporary.mkdir(mode=0o711)
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.kfp_local", str(self.workdir)],
            # The pipe closes however this process ends, and the pipeline then ends itself.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, EVENTS_VARIABLE: "1", "PYTHONUNBUFFERED": "1", **temporary_files_in(temporary)},
            # In a group of its own, Ctrl-C does not reach the stages directly; this process ends the group.
            start_new_session=True,
        )

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of the stages until the pipeline ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        with self.log.open("w", encoding="utf-8") as log:
            for line in self._process.stdout:
                event = read_event(line)
                if event is None or event["rapid"] != "progress":
                    log.write(line)
                    log.flush()
                if event:
                    yield event
        self.succeeded = self._process.wait() == 0
        self._failed = not self.succeeded

    def log_tail(self, lines: int) -> list[str]:
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in text if line.strip()][-lines:]

    def __exit__(self, *_: object) -> None:
        if self._process:
            _end(self._process)
        for path in self.workdir.iterdir() if self._failed else [self.workdir]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path != self.log:
                path.unlink()
        os.close(self._lock)


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()
    # A stage outlives a pipeline process that was killed, but stays in its group.
    _signal_group(process, signal.SIGKILL)


def _signal_group(process: "subprocess.Popen[str]", number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
