"""The part of a Kubernetes API server that a launcher of training jobs uses, over HTTP on loopback."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.kubernetes_objects import Kubernetes, Object, problems
from tests.support.loopback import loopback

_TRAINER = r"/apis/trainer\.kubeflow\.org/v1alpha1"
_NAMESPACED = r"/namespaces/(?P<namespace>[^/]+)"
_ROUTES = [
    re.compile(rf"{_TRAINER}{_NAMESPACED}/(?P<kind>trainjobs|trainingruntimes)(/(?P<name>[^/]+))?"),
    re.compile(rf"{_TRAINER}/(?P<kind>clustertrainingruntimes)(/(?P<name>[^/]+))?"),
    re.compile(rf"/api/v1{_NAMESPACED}/(?P<kind>pods)(/(?P<name>[^/]+))?(?P<log>/log)?"),
]
_VERBS = {"GET": "get", "POST": "create", "DELETE": "delete"}


@dataclass
class Fault:
    """A failure that the server simulates.

    Attributes:
        verb, kind: the requests that fail, such as create of trainjobs.
        status: of the reply; 0 drops the connection, -1 never replies.
        times: the number of requests that fail.
    """

    verb: str
    kind: str
    status: int
    times: int = 10**6
    message: str = ""


@dataclass
class Server:
    """A server at `url`; `requests` holds (verb, kind, name) of each request."""

    url: str
    state: Kubernetes
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    installed: bool = True
    closing: bool = False

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this server and namespace."""
        tree = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": "planted-token"}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": self.state.namespace}}
            ],
        }
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return path

    def wait_for(self, verb: str, kind: str, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until `times` such requests have come in."""
        deadline = time.monotonic() + seconds
        while sum(request[:2] == (verb, kind) for request in list(self.requests)) < times:
            assert time.monotonic() < deadline, f"nobody asked to {verb} {kind}"
            time.sleep(0.01)

    def fault(self, verb: str, kind: str) -> Fault | None:
        for fault in self.faults:
            if (fault.verb, fault.kind) == (verb, kind) and fault.times > 0:
                fault.times -= 1
                return fault
        return None


def status_object(code: int, reason: str, message: str, kind: str = "", name: str = "") -> Object:
    details = {"name": name, "kind": kind} if name else {"kind": kind}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


@contextmanager
def kubernetes_server() -> Iterator[Server]:
    """Serve until the block ends."""

    class Handler(_Handler):
        pass

    with loopback(Handler) as http:
        Handler.server_state = served = Server(f"http://127.0.0.1:{http.server_address[1]}", Kubernetes())
        try:
            yield served
        finally:
            served.closing = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        route = next((found for pattern in _ROUTES if (found := pattern.fullmatch(url.path))), None)
        if route is None or (not self.server_state.installed and "trainer" in url.path):
            return self._answer(404, b"404 page not found\n")
        target = {key: value or "" for key, value in route.groupdict().items()}
        kind = f"{target['kind']}{target.get('log', '')}"
        verb = _VERBS[self.command] if target["name"] or self.command != "GET" else "list"
        verb = "watch" if "watch" in query else verb
        self.server_state.requests.append((verb, kind, target["name"]))
        assert self.headers["Authorization"] == "Bearer planted-token"
        if fault := self.server_state.fault(verb, kind):
            return self._misbehave(fault, kind, target["name"])
        if target["kind"] == "trainjobs":
            return self._trainjobs(verb, target["name"], body)
        if target["kind"] == "pods":
            return self._pods(kind, target["name"], query)
        found = self.server_state.state.runtimes.get(target["name"]) if target["kind"] == "trainingruntimes" else None
        return self._answer(200, found) if found else self._missing(target["kind"], target["name"])

    def _trainjobs(self, verb: str, name: str, body: Any) -> None:
        state = self.server_state.state
        if verb == "create":
            name = body["metadata"]["name"]
            if refused := problems(body):
                message = f'TrainJob.trainer.kubeflow.org "{name}" is invalid: {"; ".join(refused)}'
                return self._answer(422, status_object(422, "Invalid", message, "trainjobs", name))
            if name in state.jobs:
                message = f'trainjobs.trainer.kubeflow.org "{name}" already exists'
                return self._answer(409, status_object(409, "AlreadyExists", message, "trainjobs", name))
            return self._answer(201, state.create(body))
        if name not in state.jobs:
            return self._missing("trainjobs", name)
        job = state.jobs[name]
        if verb == "get":
            return self._answer(200, job)
        if (wanted := ((body or {}).get("preconditions") or {}).get("uid")) and wanted != job["metadata"]["uid"]:
            return self._answer(
                409, status_object(409, "Conflict", "the UID in the precondition differs", "trainjobs", name)
            )
        state.delete(name)
        return self._answer(200, job)

    def _pods(self, kind: str, name: str, query: dict[str, str]) -> None:
        state = self.server_state.state
        if "watch" in query:
            return self._watch(query["fieldSelector"].removeprefix("metadata.name="))
        if not name:
            label, _, value = query["labelSelector"].partition("=")
            with state.changed:
                items = [pod for pod in state.pods.values() if pod["metadata"]["labels"].get(label) == value]
            return self._answer(200, {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
        if name not in state.pods:
            return self._missing("pods", name)
        if kind == "pods":
            return self._answer(200, state.pods[name])
        (container,) = state.pods[name]["status"]["containerStatuses"]
        if "waiting" in container["state"]:
            message = f'container "node" in pod "{name}" is waiting to start: ContainerCreating'
            return self._answer(400, status_object(400, "BadRequest", message, "pods", name))
        return self._log(name, query)

    def _watch(self, pod: str) -> None:
        """Send the pod whenever it changes, until the client has gone."""
        state = self.server_state.state
        sent = ""
        self._begin_stream("application/json")
        with suppress(OSError):
            while not self.server_state.closing:
                with state.changed:
                    found = json.dumps(state.pods[pod]) if pod in state.pods else ""
                    if found == sent:
                        state.changed.wait(0.1)
                        continue
                if found:
                    self._chunk(f'{{"type": "{"MODIFIED" if sent else "ADDED"}", "object": {found}}}\n'.encode())
                sent = found
        self.close_connection = True

    def _begin_stream(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _log(self, pod: str, query: dict[str, str]) -> None:
        state = self.server_state.state
        stamped = query.get("timestamps") in ("true", "True")
        follow = query.get("follow") in ("true", "True")
        sent = 0
        self._begin_stream("text/plain")
        while True:
            with state.changed:
                lines = state.logs[pod][-int(query.get("tailLines", 10**6)) :]
                running = pod in state.pods and "running" in state.pods[pod]["status"]["containerStatuses"][0]["state"]
                if len(lines) == sent and running and follow:
                    state.changed.wait(0.2)
                    continue
            fresh = [line if stamped else line.partition(" ")[2] for line in lines[sent:]]
            sent = len(lines)
            try:
                if fresh:
                    self._chunk("".join(f"{line}\n" for line in fresh).encode())
                if any("<connection breaks here>" in line for line in fresh):
                    self.close_connection = True
                    return self.connection.close()
                if not (running and follow):
                    return self._chunk(b"")
            except OSError:
                self.close_connection = True
                return None

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _misbehave(self, fault: Fault, kind: str, name: str) -> None:
        if fault.status > 0:
            reasons = {401: "Unauthorized", 403: "Forbidden", 409: "Conflict", 503: "ServiceUnavailable"}
            reason = reasons.get(fault.status, "InternalError")
            return self._answer(fault.status, status_object(fault.status, reason, fault.message or reason, kind, name))
        self.close_connection = True
        if fault.status == 0:
            return self.connection.close()
        return time.sleep(60)

    def _missing(self, kind: str, name: str) -> None:
        group = "" if kind == "pods" else ".trainer.kubeflow.org"
        self._answer(404, status_object(404, "NotFound", f'{kind}{group} "{name}" not found', kind, name))

    def _answer(self, status: int, reply: Object | bytes) -> None:
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(reply, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
