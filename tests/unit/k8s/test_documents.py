"""The pages about Kubernetes: the YAML that they give to copy is valid."""

import re
from pathlib import Path

import pytest
import yaml

from components.contract.resolve import parse_config
from tests.support.manifests import REPOSITORY

PAGES = [REPOSITORY / "docs" / "kubernetes" / name for name in ("first-run.md", "secrets.md", "troubleshooting.md")]


def blocks(page: Path) -> list[str]:
    return [
        re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        for indent, text in re.findall(r"^( *)```yaml\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_can_be_read(page: Path) -> None:
    assert blocks(page)
    for block in blocks(page):
        assert isinstance(yaml.safe_load(block), dict), block


def test_the_first_configuration_is_one() -> None:
    (config,) = [block for block in blocks(PAGES[0]) if block.startswith("run: first")]
    parsed = parse_config(config)
    assert parsed.store.uri.startswith("s3://rapid/")
    assert parsed.loop.iterations == 2
