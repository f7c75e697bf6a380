"""`rapid trajectories`: completions with their rewards."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from components.contract.errors import InputError
from components.contract.layout import Round
from components.results import read_completions
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_stored_run


class Split(StrEnum):
    train = "train"
    eval = "eval"


def trajectories_command(
    run: RunArgument,
    iteration: Annotated[int | None, typer.Option(min=1, help="Iteration; the final evaluation by default.")] = None,
    best: Annotated[bool, typer.Option("--best", help="Highest rewards first.")] = False,
    worst: Annotated[bool, typer.Option("--worst", help="Lowest rewards first.")] = False,
    split: Annotated[
        Split | None, typer.Option(help="Training prompts (train) or held-out prompts (eval) only.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of completions.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the random order.")] = 0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show completions with their rewards, at random unless --best or --worst is given.

    Example:

        rapid trajectories small --iteration 2 --worst -n 4
    """
    if best and worst:
        raise InputError("--best and --worst cannot be combined")
    stored = find_stored_run(run, store)
    round_ = Round.iteration(iteration) if iteration else stored.final_round()
    rows = read_completions(stored, round_)
    if split:
        rows = rows.filter(pc.equal(rows["split"], split.value))
    if not rows.num_rows:
        raise InputError(f"{round_} of {stored.uri} holds no completions{f' of the {split} split' if split else ''}")
    console = Console()
    for row in _pick(rows, best - worst, count, seed):
        console.print(_panel(row))
    order = "best first" if best else "worst first" if worst else "at random"
    console.print(f"{min(count, rows.num_rows)} of {rows.num_rows} completions of {round_}, {order}", highlight=False)


def _pick(rows: pa.Table, direction: int, count: int, seed: int) -> list[dict[str, object]]:
    """Return rows in descending (1), ascending (-1) or random (0) order of reward."""
    shuffled = np.random.default_rng(seed).permutation(rows.num_rows)
    # A stable sort of the shuffled rows breaks ties at random.
    order = np.argsort(-direction * rows["reward"].to_numpy()[shuffled], kind="stable")
    shuffled = shuffled[order]
    picked: list[dict[str, object]] = rows.take(shuffled[:count]).to_pylist()
    return picked


def _panel(row: dict[str, object]) -> Panel:
    tokens = row["completion_token_ids"]
    logprobs = row["behaviour_logprobs"]
    assert isinstance(tokens, list)
    assert isinstance(logprobs, list)
    body = Text.assemble((str(row["prompt"]), "dim"), "\n", str(row["text"]))
    if row["answer"] is not None:
        body.append(f"\nreference answer: {row['answer']}", style="dim")
    if row["detail"]:
        body.append(f"\n{row['status']}: {row['detail']}", style="red")
    reward = row["reward"]
    assert isinstance(reward, float)
    title = f"reward {reward:.3g}  {row['status']}  {row['group_id']} #{row['sample_index']}"
    subtitle = f"{len(tokens)} tokens, {row['finish_reason']}, mean log-probability {sum(logprobs) / len(logprobs):.2f}"
    return Panel(body, title=title, subtitle=subtitle, title_align="left", subtitle_align="left")
