"""The KFP component of prepare: what it refuses of a run that the pipeline was not compiled for."""

import pytest

from components.prepare.component import prepare

CONFIG = "{run: demo, model: nowhere, data: nothing.jsonl}"


def refused(
    capsys: pytest.CaptureFixture[str], config: str, max_iterations: int, pipelined: bool, run: str = ""
) -> str:
    with pytest.raises(SystemExit) as ended:
        prepare.python_func(
            config=config,
            run=run,
            model="",
            data="",
            iterations=-1,
            max_iterations=max_iterations,
            pipelined=pipelined,
            train_job=False,
        )
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_more_iterations_than_there_are_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, CONFIG, 3, False)
    assert "loop.iterations = 4, but this pipeline was compiled for at most 3" in message
    assert "--max-iterations" in message


@pytest.mark.parametrize(("staleness", "pipelined", "how"), [(1, False, "without"), (0, True, "with")])
def test_a_run_that_samples_another_way(
    staleness: int, pipelined: bool, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = f"{CONFIG[:-1]}, loop: {{staleness: {staleness}}}}}"
    message = refused(capsys, config, 16, pipelined)
    assert f"loop.staleness = {staleness}, but this pipeline was compiled {how} --pipelined" in message


def test_a_name_like_a_number_is_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    # It goes on to the next thing that is wrong.
    assert "loop.iterations = 4" in refused(capsys, CONFIG, 3, False, run="2026")
