"""math-verify, for notation that this project does not know, within bounds of size and time."""

import logging
import re
import threading
from functools import lru_cache
from typing import Any

# It warns once that its time limit is off; outside the main thread the grading process itself is what gets stopped.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)

_LONGEST = 300
_SECONDS = 2
_OUT_OF_PROPORTION = re.compile(r"\d{4,}\W{0,3}!|\^[\s{(+-]*\d{4,}|\^[^+=,;]{1,20}\^|!\s*!|[{(\[]{12}|\d{40}")


def verified(found: str, expected: str) -> bool:
    """Return whether math-verify finds two answers equal; False for answers on which it could hang."""
    from math_verify import verify

    if any(len(text) > _LONGEST or _OUT_OF_PROPORTION.search(text) for text in (found, expected)):
        return False
    return bool(verify(_parsed(expected), _parsed(found), timeout_seconds=_limit()))


@lru_cache(maxsize=512)
def _parsed(text: str) -> Any:
    from math_verify import parse

    return parse(f"\\boxed{{{text}}}", parsing_timeout=_limit())


def _limit() -> int | None:
    # Its limit is an alarm signal, which works in main threads only.
    return _SECONDS if threading.current_thread() is threading.main_thread() else None
