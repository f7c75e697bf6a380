"""Text of a model or a data file reaches the terminal as text: no escape sequence, no markup."""

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from components.contract.errors import InputError
from components.contract.printable import printable
from components.results.breakdown import Breakdown
from components.results.comparison import Changed, Comparison
from components.runtime.guard import exit_on_bad_input
from components.runtime.progress import note
from pipelines.cli.output import say
from pipelines.cli.plan_tables import findings_table
from pipelines.cli.rescore_command import _panel as rescored_panel
from pipelines.cli.run_tables import breakdown_table
from pipelines.cli.stored_run_commands import _panel
from pipelines.preflight.findings import Finding

HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202e[/bold] [link=x]\r\x08\ud800 ok"
SHOWN = r"\x1b[2J\x1b]0;title\x07 \x9b31m \u202e[/bold] [link=x]\x0d\x08\ud800 ok"


def terminal() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=True, width=300, color_system=None), written


def shown(thing: object) -> str:
    console, written = terminal()
    console.print(thing)
    return written.getvalue()


ROW = {
    "prompt": HOSTILE, "text": HOSTILE, "answer": HOSTILE, "detail": HOSTILE, "status": "error", "reward": 0.5,
    "group_id": HOSTILE, "sample_index": 0, "finish_reason": "stop", "completion_token_ids": [1],
    "behaviour_logprobs": [-0.5],
}  # fmt: skip


def test_completions() -> None:
    assert shown(_panel(ROW)).count(SHOWN) == 5
    empty = {"completion_token_ids": [], "behaviour_logprobs": [], "finish_reason": "abort"}
    assert "0 tokens, abort" in shown(_panel({**ROW, **empty}))


def test_completions_whose_rewards_changed() -> None:
    example_ = Changed.__new__(Changed)
    for name, value in (
        ("text", HOSTILE), ("answer", HOSTILE), ("detail", HOSTILE), ("group_id", HOSTILE), ("sample_index", 0),
        ("before", 0.0), ("after", 1.0),
    ):  # fmt: skip
        object.__setattr__(example_, name, value)
    comparison = Comparison.__new__(Comparison)
    for name, value in (("round_", "iteration 1"), ("split", "train")):
        object.__setattr__(comparison, name, value)
    assert shown(rescored_panel(comparison, example_)).count(SHOWN) == 4


def test_subjects() -> None:
    entry = Breakdown.__new__(Breakdown)
    for name, value in (
        ("subject", HOSTILE), ("prompts", 1), ("reward", 0.5), ("pass_at_k", {}), ("majority_at_k", {}), ("failed", 0)
    ):  # fmt: skip
        object.__setattr__(entry, name, value)
    assert shown(breakdown_table("title", HOSTILE, [entry])).count(SHOWN) == 2


def test_findings_notes_lines_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert SHOWN in shown(findings_table([Finding.warning("data", HOSTILE)]))
    console, written = terminal()
    say(console, HOSTILE)
    assert written.getvalue() == SHOWN + "\n"
    note(HOSTILE)
    with pytest.raises(SystemExit), exit_on_bad_input():
        raise InputError(HOSTILE)
    assert capsys.readouterr().err.count(r"\x1b[2J\x1b]0;title\x07 \x9b31m \u202e[/bold]") == 2


@settings(max_examples=20)
@given(st.text())
@example("".join(map(chr, range(0x300))))
def test_whatever_it_is_it_can_be_printed_and_obeys_nothing(text: str) -> None:
    safe = printable(text)
    safe.encode()
    assert all(character.isprintable() or character in "\n\t" or ord(character) >= 0xA0 for character in safe)
    assert printable(safe) == safe


def test_ordinary_text_stays_as_it_is() -> None:
    text = "naïve\n\t½ 数学 \U0001f469\u200d\U0001f680 שלום"
    assert printable(text) == text
    assert printable("a\r\nb") == "a\nb"
