"""A few completions of every policy with their rewards, as tables that MLflow's pages show."""

import json

import pyarrow as pa
import pyarrow.compute as pc

from components.contract.digests import derive_seed
from components.contract.layout import Round
from components.results import read_completions, shown_rows
from components.tracking.session import Session

PROMPTS = 16
"""Prompts of a table: the same ones for every policy, so that their completions can be compared."""

_COLUMNS = ("prompt", "text", "answer", "reward", "status", "finish_reason")
_FOLDER = "completions"
_TAG = "mlflow.loggedArtifacts"
_MOST_LISTED = 100
"""MLflow takes tags of at most 8,000 characters."""


def send_completions(session: Session, round_: Round) -> None:
    """Send one completion each of the same prompts of a round, of held-out ones where the round has them."""
    run = session.run
    rows = read_completions(run, round_)
    shown = _first_completions(shown_rows(rows), run.config.run.seed)
    path = f"{_FOLDER}/policy-{run.sampled_policy(round_):04d}.json"
    # The form in which MLflow itself writes a table, which takes pandas.
    table = {"columns": list(_COLUMNS), "data": [[row[name] for name in _COLUMNS] for row in shown.to_pylist()]}
    session.client.log_text(session.state.run_id, json.dumps(table), path)
    _list(session, path)


def _first_completions(rows: pa.Table, seed: int) -> pa.Table:
    """Return the first completion of as many prompts as a table holds, by an order that only the seed decides."""
    first = rows.filter(pc.equal(rows["sample_index"], 0))
    order = sorted(range(first.num_rows), key=lambda row: derive_seed(seed, "shown", first["prompt_id"][row].as_py()))
    return first.take(order[:PROMPTS])


def _list(session: Session, path: str) -> None:
    """Name a table in the run's tag, by which MLflow's pages know it from other JSON."""
    run_id = session.state.run_id
    listed = json.loads(session.client.get_run(run_id).data.tags.get(_TAG, "[]"))
    entry = {"path": path, "type": "table"}
    if entry not in listed:
        session.client.set_tag(run_id, _TAG, json.dumps([*listed, entry][-_MOST_LISTED:]))
