from pathlib import Path

import pyarrow as pa

from components.contract.layout import Round
from components.publish.samples import PER_KIND, pick
from components.results import read_completions
from tests.support.fake_run import finished_run


def tables(root: Path) -> list[pa.Table]:
    run = finished_run(root, iterations=1).run
    return [read_completions(run, round_) for round_ in (Round.iteration(1), Round.evaluation(1))]


def test_best_and_worst_and_the_same_random_prompts(tmp_path: Path) -> None:
    first, last = pick(tables(tmp_path), 0.5, seed=3)
    for samples in (first, last):
        kinds = [s.kind for s in samples]
        assert [kinds.count(kind) for kind in ("best", "worst", "random")] == [PER_KIND] * 3
        assert {s.reward for s in samples if s.kind == "best"} == {1.0}
        assert {s.reward for s in samples if s.kind == "worst"} == {0.0}
    assert [s.prompt for s in first if s.kind == "random"] == [s.prompt for s in last if s.kind == "random"]


def test_the_seed_decides(tmp_path: Path) -> None:
    both = tables(tmp_path)
    assert pick(both, 0.5, seed=3) == pick(both, 0.5, seed=3)
    assert any(pick(both, 0.5, seed=3) != pick(both, 0.5, seed=other) for other in range(4, 8))


def test_fewer_completions_than_wanted(tmp_path: Path) -> None:
    (samples,) = pick([tables(tmp_path)[0].slice(0, 1)], 0.5, seed=3)
    assert {s.kind for s in samples} <= {"best", "worst", "random"}
    assert len({(s.prompt, s.text) for s in samples}) == 1


def test_long_texts_are_shortened_in_the_middle(tmp_path: Path) -> None:
    table = tables(tmp_path)[0].slice(0, 1)
    text = "a" * 5000 + "z" * 5000
    table = table.set_column(table.column_names.index("text"), "text", pa.array([text]))
    (samples,) = pick([table], 0.5, seed=3)
    assert len(samples[0].text) < 1300
    assert samples[0].text.startswith("aaa")
    assert samples[0].text.endswith("zzz")
    assert "8800 characters" in samples[0].text
