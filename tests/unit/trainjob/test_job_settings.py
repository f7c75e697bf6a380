from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.trainjob.job_settings import load_settings


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "image is required"),
        ("{image: x, gpus: 4}", "gpus is not an option"),
        ("{image: x, deadline_seconds: -1}", "deadline_seconds must be at least 0 (got -1)"),
        ("{image: [", "not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_file_of_settings_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_settings(path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(path))
    assert reason in line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_settings(tmp_path / "none.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8"):
        load_settings(path)
