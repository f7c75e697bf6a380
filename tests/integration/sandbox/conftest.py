"""Fixtures of the sandbox's tests."""

from tests.support.open_python import in_open_python, open_python

__all__ = ["in_open_python", "open_python"]
