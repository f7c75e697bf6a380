"""The pages: links resolve, the commands that they show exist, and the README stays short."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from pipelines.cli.main import app

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    *REPOSITORY.glob("*.md"),
    *REPOSITORY.glob("docs/**/*.md"),
    *REPOSITORY.glob("configs/**/*.md"),
    *REPOSITORY.glob("requirements/*.md"),
    *REPOSITORY.glob("benchmarks/**/*.md"),
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


@each_page
def test_links_resolve(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub derives from a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_paths_exist(page: Path):
    """Check the paths of files and folders in backticks; k8s/overlays/ours and IMAGE are the reader's to choose."""
    for path in re.findall(
        r"`((?:components|pipelines|tests|docs|docker|benchmarks|configs)/[\w./-]+)`", page.read_text("utf-8")
    ):
        assert (REPOSITORY / path).exists(), path


@each_page
def test_commands_exist(page: Path):
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = set(get_command(app).commands)
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    assert set(re.findall(r"(?:^|[;&|] *)make ([a-z0-9-]+)", shell, re.MULTILINE)) <= targets
    assert set(re.findall(r"(?:^|[;&|] *)(?:\.venv/bin/)?rapid ([a-z]+)", shell, re.MULTILINE)) <= commands


def test_the_readme_has_at_most_a_thousand_words():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) <= 1000
