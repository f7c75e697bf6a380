"""Programs that try to leave the sandbox, to exhaust the machine or to be rewarded for nothing.

Every one is small and bounded in itself, so that it would do little harm even where nothing held it. Those of
`escape` and `exhaustion` define `attack()`, which returns "escaped" where the attempt succeeded and "held" where it
did not; those of `cheating` pretend to define `add`. `@NAME@` stands for what the test puts there.
"""

from tests.support.hostile.cheating import CHEATING as PLAIN_CHEATING
from tests.support.hostile.cheating import DECIDES
from tests.support.hostile.escape import ESCAPES
from tests.support.hostile.exhaustion import EXHAUSTION
from tests.support.hostile.values import VALUES

CHEATING = {**PLAIN_CHEATING, **VALUES}
# Values without an end that could be compared.
UNREADABLE = {"a value without end", "a very deep value"}

__all__ = ["CHEATING", "DECIDES", "ESCAPES", "EXHAUSTION", "UNREADABLE"]
