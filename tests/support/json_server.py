"""A JSON server on loopback, for tests of clients over real HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.loopback import loopback

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


@dataclass
class JsonServer:
    """A server at `url`; `requests` holds (path, headers, body) of each request, in order."""

    url: str
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.requests]


@contextmanager
def json_server(answer: Callable[[str, Any], Answer]) -> Iterator[JsonServer]:
    """Serve `answer(path, body) -> (status, reply[, headers])` on a free port; a reply of bytes is sent as it is."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                served.requests.append((self.path, dict(self.headers), body))
            status, reply, *headers = answer(self.path, body)
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers[0] if headers else {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with loopback(Handler) as server:
        served = JsonServer(f"http://127.0.0.1:{server.server_address[1]}")
        yield served
