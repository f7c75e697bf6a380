"""HTTP in front of the cluster: routing by the API's description, authentication, simulated failures."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.kfp_server.cluster import Cluster, Exists, Forbidden, Missing
from tests.support.kfp_server.description import Operation, Violation, check, check_query, find_operation
from tests.support.kfp_server.listing import Invalid
from tests.support.loopback import loopback

# HTTP status and gRPC code (google.rpc.Code) of each error.
_STATUS: dict[type[Exception], tuple[int, int]] = {
    Invalid: (400, 3),
    Violation: (400, 3),
    Forbidden: (403, 7),
    Missing: (404, 5),
    Exists: (409, 6),
}


@dataclass
class Fault:
    """A failure of the next requests whose path contains `part`."""

    part: str
    status: int = 500
    body: bytes = b""
    content_type: str = "application/json"
    seconds: float = 0.0
    hang_up: bool = False
    times: int = 1
    after: bool = False
    """The server executes the request and fails only afterwards."""


@dataclass
class KfpServer:
    url: str
    cluster: Cluster
    token: str | None = None
    cookie: str | None = None
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """(verb, path with query, headers, body) of each request."""
    violations: list[str] = field(default_factory=list)
    """Requests and responses that the description does not allow."""
    faults: list[Fault] = field(default_factory=list)

    def fault(self, part: str) -> Fault | None:
        found = next((fault for fault in self.faults if fault.part in part), None)
        if found:
            found.times -= 1
            if not found.times:
                self.faults.remove(found)
        return found

    def bodies(self, part: str) -> list[Any]:
        """Return the JSON bodies of POST requests to paths that end in `part`."""
        return [
            json.loads(body)
            for verb, path, _, body in self.requests
            if verb == "POST" and urlsplit(path).path.endswith(part) and body.startswith(b"{")
        ]


@contextmanager
def kfp_server(
    cluster: Cluster | None = None, certificate: tuple[Path, Path] | None = None, prefix: str = ""
) -> Iterator[KfpServer]:
    """Serve a cluster on a free port.

    Args:
        certificate: files of a certificate and its key, for HTTPS.
        prefix: the part of paths before /apis, as behind a proxy.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_DELETE(self) -> None:
            self._answer("DELETE")

        def _answer(self, verb: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                served.requests.append((verb, self.path, {n.title(): v for n, v in self.headers.items()}, body))
                fault = served.fault(self.path)
            if fault and not fault.after:
                self._fail(fault)
                return
            with lock:
                status, reply = _reply(served, verb, self.path, self.headers, body, prefix)
            if fault:
                self._fail(fault)
                return
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self._send(status, data, "text/html" if isinstance(reply, bytes) else "application/json")

        def _fail(self, fault: Fault) -> None:
            time.sleep(fault.seconds)
            if fault.hang_up:
                self.close_connection = True
                self.connection.close()
                return
            self._send(fault.status, fault.body, fault.content_type)

        def _send(self, status: int, data: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    with loopback(Handler, context) as server:
        scheme = "https" if certificate else "http"
        served = KfpServer(f"{scheme}://localhost:{server.server_address[1]}{prefix}", cluster or Cluster())
        yield served


def _reply(
    served: KfpServer, verb: str, target: str, headers: Any, body: bytes, prefix: str
) -> tuple[int, dict[str, Any] | bytes]:
    if not target.startswith(f"{prefix}/apis/"):
        return 404, b"<html>404 page not found</html>"
    if served.token and headers.get("Authorization") != f"Bearer {served.token}":
        return 401, {
            "error": "Unauthenticated",
            "code": 16,
            "message": "Request header error: there is no user identity",
        }
    if served.cookie and headers.get("Cookie") != served.cookie:
        return 200, b"<html><title>Log in to your account</title></html>"
    parts = urlsplit(target.removeprefix(prefix))
    query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    try:
        operation, named = find_operation(verb, parts.path)
        check_query(operation, query)
        answer = _carry_out(served.cluster, operation, named, query, headers, body)
        check(answer, operation.answer, f"the answer to {operation.name}")
    except tuple(_STATUS) as error:
        if isinstance(error, Violation):
            served.violations.append(str(error))
        status, code = _STATUS[type(error)]
        if "/upload" in parts.path:
            # writeErrorToResponse in backend/src/apiserver/server/pipeline_upload_server.go
            return status, {"error_message": str(error), "error_details": str(error)}
        return status, {"error": str(error), "code": code, "message": str(error), "details": []}
    return 200, answer


def _carry_out(
    cluster: Cluster, operation: Operation, named: dict[str, str], query: dict[str, str], headers: Any, body: bytes
) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.body:
        content = json.loads(body)
        check(content, operation.body, f"the body of {operation.name}")
    actions: dict[str, Callable[[], dict[str, Any]]] = {
        "healthz_service_get_healthz": lambda: {"multi_user": cluster.multi_user},
        "pipeline_service_create_pipeline": lambda: cluster.create_pipeline(content),
        "pipeline_service_get_pipeline_by_name": lambda: cluster.pipeline_named(
            named["name"], query.get("namespace", "")
        ),
        "upload_pipeline_version": lambda: cluster.upload_version(query, *_uploaded(headers, body)),
        "pipeline_service_get_pipeline_version": lambda: cluster.get_version(named["pipeline_version_id"]),
        "pipeline_service_list_pipeline_versions": lambda: cluster.list_versions(named["pipeline_id"], query),
        "experiment_service_create_experiment": lambda: cluster.create_experiment(content),
        "experiment_service_list_experiments": lambda: cluster.list_experiments(query),
        "run_service_create_run": lambda: cluster.create_run(content),
        "run_service_get_run": lambda: cluster.get_run(named["run_id"]),
        "run_service_list_runs": lambda: cluster.list_runs(query),
        "run_service_terminate_run": lambda: cluster.terminate_run(named["run_id"]),
        "recurring_run_service_create_recurring_run": lambda: cluster.create_recurring(content),
        "recurring_run_service_list_recurring_runs": lambda: cluster.list_recurring(query),
        "recurring_run_service_enable_recurring_run": lambda: cluster.switch_recurring(
            named["recurring_run_id"], "ENABLED"
        ),
        "recurring_run_service_disable_recurring_run": lambda: cluster.switch_recurring(
            named["recurring_run_id"], "DISABLED"
        ),
        "recurring_run_service_delete_recurring_run": lambda: cluster.delete_recurring(
            named["recurring_run_id"], query.get("propagation_policy", "")
        ),
    }
    if operation.name not in actions:
        raise Violation(f"this server does not support {operation.name}")
    return actions[operation.name]()


def _uploaded(headers: Any, body: bytes) -> tuple[str, bytes]:
    """Return file name and content of the form field `uploadfile`."""
    form = message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
    for part in form.get_payload():
        assert not isinstance(part, str)
        if part.get_param("name", header="content-disposition") == "uploadfile":
            return part.get_filename() or "", part.get_payload(decode=True) or b""  # type: ignore[return-value]
    raise Invalid("Failed to read pipeline from file")
