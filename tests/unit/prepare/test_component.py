"""The KFP component of prepare: what it refuses of a run that the pipeline was not compiled for."""

from pathlib import Path

import pytest

from components.contract.layout import RunLayout
from components.prepare.component import prepare
from components.runtime.parent import Limits
from components.store import open_store
from components.store.attempt_logs import read_logs

CONFIG = "{run: demo, model: nowhere, data: nothing.jsonl}"


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default store lies in the working directory."""
    monkeypatch.chdir(tmp_path)


def refused(
    capsys: pytest.CaptureFixture[str], config: str, layout: str, max_iterations: int = 0, run: str = ""
) -> str:
    with pytest.raises(SystemExit) as ended:
        prepare.python_func(
            config=config,
            run=run,
            model="",
            data="",
            iterations=-1,
            job="",
            job_name="",
            due="",
            layout=layout,
            max_iterations=max_iterations,
            train_job=False,
            limits=Limits().model_dump_json(),
        )
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_more_iterations_than_there_are_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, CONFIG, "tasks", 3)
    assert "loop.iterations = 4, but this pipeline of layout tasks was compiled for at most 3" in message
    assert "--layout workers or pod" in message
    (log,) = read_logs(open_store("rapid-store"), RunLayout("demo"))
    assert log.record.outcome == "failed"
    assert f"error: {log.record.reason}\n" == message


@pytest.mark.parametrize(
    ("section", "layout", "refusal"),
    [
        ("loop: {staleness: 1}", "tasks", "use layout workers or pod"),
        ("train: {nodes: 2}", "pod", "layout pod trains in its one pod; use layout workers or tasks"),
        ("train: {nodes: 2}", "workers", "compile it with --train-job"),
    ],
)
def test_what_the_layout_cannot_do(section: str, layout: str, refusal: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, f"{CONFIG[:-1]}, {section}}}", layout, 16)
    assert refusal in message
    assert message.count("\n") == 1


def test_a_name_like_a_number_is_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    # It goes on to the next thing that is wrong.
    assert "loop.iterations = 4" in refused(capsys, CONFIG, "tasks", 3, run="2026")
