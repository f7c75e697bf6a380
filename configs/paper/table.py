"""Write the table of estimates in configs/paper/README.md, as `rapid run CONFIG --dry-run` prints them.

    python configs/paper/table.py

The estimates need neither data nor weights: the configurations of the models are in `models/`.
"""

import json
from pathlib import Path

from components.contract.resolve import load_config
from pipelines.cli.plan_tables import amount, size
from pipelines.estimates.memory_estimate import engine_memory, training_memory
from pipelines.estimates.model_shape import ModelShape
from pipelines.estimates.storage_estimate import estimate_storage
from pipelines.estimates.work_estimate import estimate_work

HERE = Path(__file__).parent
README = HERE / "README.md"
TASKS = ("mbpp-plus", "math", "minif2f")
MODELS = {
    "Qwen/Qwen2.5-0.5B": "Qwen2.5-0.5B",
    "Qwen/Qwen2.5-1.5B": "Qwen2.5-1.5B",
    "google/gemma-3-1b-pt": "gemma-3-1b-pt",
}
BEGIN, END = "<!-- estimates: configs/paper/table.py -->\n", "<!-- end of estimates -->"
HEADINGS = (
    "configuration", "model", "iterations", "optimizer steps", "completions an iteration", "completion tokens, at most",
    "engine: weights + one sequence", "training", "storage of the run",
)  # fmt: skip


def row(task: str, model: str) -> list[str]:
    """Return the cells of one configuration with one model."""
    config = load_config(HERE / f"{task}.yaml", [f"model.path={model}"])
    path = HERE / "models" / MODELS[model] / "config.json"
    shape = ModelShape.of(json.loads(path.read_text(encoding="utf-8")), str(path))
    work = estimate_work(config)
    engine, training = engine_memory(config, shape), training_memory(config, shape, on_gpu=True)
    return [
        f"`{task}.yaml`",
        MODELS[model],
        str(work.iterations),
        amount(work.steps * work.iterations),
        amount(work.iteration.completions),
        amount(work.run.most_tokens),
        f"{size(engine.weights)} + {size(engine.sequence)}",
        size(training.total),
        size(estimate_storage(config, shape, work).total),
    ]


def table() -> str:
    """Return the table in Markdown."""
    rows = [list(HEADINGS), ["---", "---", *["---:"] * (len(HEADINGS) - 2)]]
    rows += [row(task, model) for task in TASKS for model in MODELS]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def with_table(text: str) -> str:
    """Replace the table between the two marks of a text."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
