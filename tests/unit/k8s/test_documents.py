"""What the pages about Kubernetes give to copy."""

import re
from pathlib import Path

import pytest
import yaml

from components.contract.resolve import parse_config
from tests.support.manifests import REPOSITORY

PAGES = [REPOSITORY / "docs" / "kubernetes" / name for name in ("first-run.md", "secrets.md", "troubleshooting.md")]

ALL = [*sorted((REPOSITORY / "docs" / "kubernetes").glob("*.md")), REPOSITORY / "README.md"]


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


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
