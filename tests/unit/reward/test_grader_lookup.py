"""Built-in graders, found by their decorator, and the arguments that graders get."""

import importlib

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec
from components.reward.grader_calls import load_grader
from components.reward.grader_lookup import built_in_graders, resolve_graders
from components.reward.graders import grader
from components.reward.graders.__main__ import table


def test_declarations_read_from_the_source_are_those_of_the_imported_functions():
    for name, built_in in built_in_graders().items():
        module, _, attribute = built_in.location.partition(":")
        declaration = getattr(importlib.import_module(module), attribute).declaration
        assert (attribute, declaration.runs_programs) == (name, built_in.runs_programs)
    assert [name for name, built_in in built_in_graders().items() if built_in.runs_programs] == ["code"]


def test_every_built_in_grader_is_documented():
    lines = table().splitlines()[2:]
    assert len(lines) == len(built_in_graders())
    assert all(built_in.summary.startswith("Return ") for built_in in built_in_graders().values())
    assert "| `numeric` | 1 where the final numbers of completion and answer are equal, else 0 " in table()


def test_an_unknown_name_is_refused_with_the_valid_ones():
    with pytest.raises(InputError, match=r"'maths' is not a valid grader; use .*code, exact, .*math, numeric, .*regex"):
        resolve_graders([GraderSpec(name="maths")])


def refuse_short(least: int, time_limit: float) -> str:
    if least * 2 > time_limit:
        raise ValueError(f"least must be at most half the limit (got {least})")
    return f"least-{least}"


@grader(version="7", check=refuse_short)
def at_least(completion, *, least=3, unused="x"):  # noqa: ARG001
    return float(len(completion) >= least)


@grader(version="2")
def declared(answers, *, least=3):
    return [float(least)] * len(answers)


def load(function: str, **options):
    return load_grader("mine", f"{__name__}:{function}", 1.0, options, None, 10.0)


def test_a_check_gets_the_options_it_names_and_adds_to_the_version():
    assert load("at_least").version == "7+least-3"
    assert load("at_least", least=5).version == "7+least-5"
    assert load("declared").version == "2"
    with pytest.raises(ValueError, match=r"at most half the limit \(got 6\)"):
        load("at_least", least=6)


def with_alternatives(completion, answer, answers=()):
    return float(completion in (answer, *answers))


def test_an_option_may_have_the_name_of_the_other_kinds_argument():
    loaded = load("with_alternatives", answers=["4"])
    assert (loaded.batched, list(loaded.arguments)) == (False, ["completion", "answer"])


def test_a_grader_gets_the_arguments_it_names():
    assert list(load("at_least").arguments) == ["completion"]
    assert not load("at_least").batched
    assert list(load("declared").arguments) == ["answers"]
    assert load("declared").batched
    with pytest.raises(TypeError, match="unexpected keyword argument 'most'"):
        load("at_least", most=5)
