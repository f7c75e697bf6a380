"""JSON replies from pytest-httpserver."""

import json
import re
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]


def reply_with(server: HTTPServer, answer: Callable[[Any], Reply], path: str = "") -> str:
    """Reply to requests with `answer(body)`: status, content and headers, if any. Return the server's URL.

    Content is sent as JSON, bytes as they are. Requests at another `path`, if one is given, get the status 500.
    """

    def respond(request: Request) -> Response:
        status, content, *headers = answer(request.json)
        return Response(content if isinstance(content, bytes) else json.dumps(content), status, *headers)

    server.expect_request(path or re.compile(".*")).respond_with_handler(respond)
    return server.url_for("").rstrip("/")


def bodies(server: HTTPServer) -> list[Any]:
    """Return the bodies of the requests so far, in order."""
    return [request.json for request, _ in server.log]
