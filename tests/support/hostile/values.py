"""Attempts to be rewarded for `add(2, 3) == 5` by values, errors and messages that the tests take for others."""

_BASES = (
    "Decimal",
    "Fraction",
    "deque",
    "Counter",
    "OrderedDict",
    "UUID",
    "str",
    "float",
    "complex",
    "bytes",
    "tuple",
    "dict",
    "set",
)
_IMPORTS = "from collections import *\nfrom decimal import *\nfrom fractions import *\nfrom uuid import UUID\n"
_MADE = {"UUID": "int=7", "OrderedDict": "", "Counter": "", "complex": "1, 2"}
_ALWAYS = """
class Equal({base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 5
    def __iter__(self): return iter([5])
    def __reduce__(self): return (int, (5,))
    def __index__(self): return 5
    def __int__(self): return 5
    def __float__(self): return 5.0
    def __str__(self): return "5"
    __repr__ = __str__
def add(a, b): return Equal({made})
"""
_SAY = """
import json, os, struct
def say(message):
    body = json.dumps(message).encode()
    os.write(3, struct.pack(">I", len(body)) + body)
def add(a, b):
    for _ in range(3): say({message})
"""
_ABOUT = "[['int', 'object'], False, None, None]"

VALUES = {
    **{
        f"a {base} equal to everything": _IMPORTS + _ALWAYS.format(base=base, made=_MADE.get(base, ""))
        for base in _BASES
    },
    "a class that says it is int": """
class Number:
    __class__ = property(lambda self: int)
    def __init__(self, x): self.x = x
    def __int__(self): return 5
def add(a, b): return Number(5)
""",
    "a class of a class that decides": """
class Meta(type):
    def __instancecheck__(cls, value): return True
    def __eq__(cls, other): return True
    __hash__ = type.__hash__
class Number(metaclass=Meta): pass
def add(a, b): return Number
""",
    "an endless iterator": "import itertools\ndef add(a, b): return itertools.count()\n",
    "an error as a value": "def add(a, b): return AssertionError()\n",
    "an assertion of its own": "class Fine(AssertionError): pass\ndef add(a, b): raise Fine('5')\n",
    "an end of its own": "class Fine(StopIteration): pass\ndef add(a, b): raise Fine(5)\n",
    "an error with a lying class": "class Fine(Exception):\n    __class__ = StopIteration\ndef add(a, b): raise Fine\n",
    "NotImplemented": "def add(a, b): return NotImplemented\n",
    "an ellipsis": "def add(a, b): return ...\n",
    "a class": "def add(a, b): return int\n",
    "a cleared argument": "def add(a, b):\n    a = b = 5\n    return None\n",
    "a view": "def add(a, b): return {5: 5}.keys()\n",
    "a function": "def add(a, b): return lambda *_: 5\n",
    "a callback that is none": _SAY.format(message="['callback', -1, ['t'], ['d']]"),
    "a callback to its own object": _SAY.format(message="['callback', 0, ['t'], ['d']]"),
    "an object with a class of its own choice": _SAY.format(message=f"['value', ['o', 7, None, {_ABOUT}], None]"),
    "an object of the tests": _SAY.format(message=f"['value', ['o', -1, None, {_ABOUT}], None]"),
    "a function of the system": _SAY.format(message="['value', ['n', 'os', '_exit'], None]"),
    "an evaluation": _SAY.format(message="['value', ['n', 'builtins', 'eval'], None]"),
    "a verdict for a value": _SAY.format(message="['verdict', 'passed', None]"),
    "changes without arguments": _SAY.format(message="['value', 4, [['t', 5], ['d'], 1]]"),
    "an error of any name": _SAY.format(message="['raised', ['a\\0b', '', [['builtins', 'Exception']], ['t'], ['d']]]"),
    "an error of any module": _SAY.format(message="['raised', ['x', '', [['antigravity', 'x']], ['t'], ['d']]]"),
    "an error that assigns": _SAY.format(
        message="['raised', ['x', '', [['builtins', 'ValueError']], ['t'], ['d', '__class__', 5, 'args', 5]]]"
    ),
    "a fraction that takes long": _SAY.format(
        message="['value', ['x', 'Fraction', ['i', 'f' * 30000], ['i', '7' * 30000]], None]"
    ),
    "a range that takes long": "def add(a, b): return range(10 ** 18)\n",
    "a number that takes long": "from decimal import Decimal\ndef add(a, b): return Decimal('9e999999')\n",
    "names that tests use": "globals().update({'AssertionError': None, '__equal__': lambda *_: True})\n"
    "def add(a, b): return 4\n",
    "a set-up that failed": """
import json, os, struct
body = json.dumps(["broken", "x"]).encode()
os.write(3, struct.pack(">I", len(body)) + body)
""",
}
"""None is rewarded."""
