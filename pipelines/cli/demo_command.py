"""`rapid demo`: the built-in example from nothing to a report."""

import os
from itertools import count

from components.contract.config import RunConfig
from components.contract.layout import RunLayout
from components.contract.resolve import load_config
from components.runtime.progress import StageProgress
from components.store import Run, open_store
from pipelines.cli.arguments import OverridesArgument
from pipelines.cli.run_command import execute


def demo_command(overrides: OverridesArgument = None) -> None:
    """Watch a tiny language model learn two-digit addition: two cores, a few minutes.

    The first call teaches a policy of 0.75 million parameters addition from examples of which half are wrong (about a
    minute; kept in .rapid/demo). Then, as every later call, it fine-tunes that policy in a new run, or continues a run
    that was stopped.
    """
    from pipelines.demo.arithmetic import CONFIG, HOME, RECIPE, assets_ready, make_assets

    words = list(overrides or ())
    config = load_config(CONFIG, words)
    if not assets_ready(HOME):
        with StageProgress("warm start of the demo policy", RECIPE.steps, "steps") as progress:
            make_assets(HOME, lambda step, loss: progress.update(step, f"loss {loss:.3f}"))
    if not any(word.startswith(("run=", "run.name=")) for word in words):
        words.append(f"run.name={_unfinished_name(config)}")
    execute(load_config(CONFIG, words), ["run", os.path.relpath(CONFIG), *words])


def _unfinished_name(config: RunConfig) -> str:
    """Return the configured name, numbered past the runs of that name that are finished."""
    store = open_store(config.store.uri)
    names = (config.run.name if number == 1 else f"{config.run.name}-{number}" for number in count(1))
    return next(name for name in names if not Run(store, RunLayout(name), config).published())
