"""A custom objective, as the documentation writes it."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from components.contract.errors import InputError
from components.contract.objective_config import CustomOptions
from components.contract.train_config import TrainSection
from components.train.build_objective import build_objective, load_custom, objective_inputs
from components.train.objectives import Completions

REPOSITORY = Path(__file__).parents[3]
OPTIONS = {"scale": 0.5, "clip": 0.2, "clip_high": 0.28}


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`my_objectives.py`, from docs/training.md."""
    text = (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# my_objectives.py\n.*?)```", text, re.DOTALL)
    path = tmp_path / "my_objectives.py"
    path.write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_objectives", raising=False)
    return path


def custom(name: str = "my_objectives:best", **options: float) -> TrainSection:
    return TrainSection(objective=CustomOptions(name=name, options=options))


def test_the_documented_objective_has_its_advantages_options_and_flags() -> None:
    objective = build_objective(custom(**OPTIONS))
    rewards = torch.tensor([0.0, 1.0, 0.2, 0.2])
    completions = Completions(torch.zeros(4), rewards, torch.tensor([0, 0, 1, 1]), rewards > 0.5)
    assert objective.advantage(completions).tolist() == [-0.5, 0.5, -0.5, -0.5]
    assert objective.surrogate.keywords == {"clip": 0.2, "clip_high": 0.28}
    assert (objective.normalisation, objective.bounds_tokens, objective.uses_ratio) == ("token", True, False)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            custom(**OPTIONS, clips=1),
            "objective my_objectives:best has no option clips; .* are scale, clip, clip_high$",
        ),
        (custom(scale=1.0), "objective my_objectives:best needs clip$"),
        (custom("my_objectives:worst"), "my_objectives has no Objective called worst$"),
        (custom("my_objectives:best_of_group"), "my_objectives has no Objective called best_of_group$"),
        (
            custom("no_such_module:best"),
            "module no_such_module does not exist; it must be importable where training",
        ),
        (custom("no_such_package.module:best"), "cannot import no_such_package.module: No module named"),
    ],
)
def test_what_cannot_be_built_is_refused(section: TrainSection, message: str) -> None:
    with pytest.raises(InputError, match=r"train\.objective.*" + message):
        build_objective(section)


def test_a_module_that_raises_is_refused(module: Path) -> None:
    module.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(InputError, match="cannot import my_objectives: ZeroDivisionError: division by zero"):
        build_objective(custom())


@pytest.mark.parametrize("other", [{"cloning": 0.1}, {"zero_signal_groups": "drop"}])
def test_one_that_clones_refuses_the_options_that_sft_refuses(module: Path, other: dict[str, Any]) -> None:
    module.write_text(
        "from components.train.objectives import Objective, log_likelihood, verified\n"
        "clone = Objective(verified, log_likelihood, clones=True)\n",
        encoding="utf-8",
    )
    assert build_objective(custom("my_objectives:clone")).clones
    with pytest.raises(InputError, match=r"^(cloning.* is cloning alone|zero_signal.*use keep)$"):
        load_custom(TrainSection.model_validate({"objective": "my_objectives:clone", **other}))


def test_its_identity_is_the_module_file(module: Path) -> None:
    before = objective_inputs(custom().objective)
    assert before.keys() == {"objective"}
    module.write_text(module.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert objective_inputs(custom().objective) != before


def test_checks_build_it_in_a_subprocess() -> None:
    load_custom(custom(**OPTIONS))
    with pytest.raises(InputError, match=r"needs clip$"):
        load_custom(custom())
    assert "my_objectives" not in sys.modules
