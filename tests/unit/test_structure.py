"""Sizes of files and functions, and the direction in which packages import each other."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FILES = sorted(path for top in ("components", "pipelines") for path in (REPOSITORY / top).rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 320, 60

SHARED = {"contract", "store", "results", "runtime", "tracking"}
"""The packages that every stage may import."""

MAY_IMPORT = {
    "contract": set(),
    "store": {"contract"},
    "runtime": {"contract", "store"},
    "sandbox": {"contract"},
    "mathematics": {"contract"},
    "results": {"contract", "store"},
    "tracking": {"contract", "store", "results", "runtime"},
    "prepare": SHARED | {"mathematics"},
    "rollout": SHARED,
    "reward": SHARED | {"sandbox", "mathematics"},
    "train": SHARED,
    # Another way to start the train stage, not a stage of its own.
    "trainjob": SHARED | {"train"},
    "publish": SHARED,
    # Starts other stages by their command lines.
    "pod": SHARED,
}
HEAVY = {
    "torch": {"rollout", "train", "demo"},
    "vllm": {"rollout"},
    "transformers": {"prepare", "train", "demo"},
    "peft": {"train"},
    "mlflow": {"tracking"},
    "boto3": {"store"},
}
"""The packages of components and pipelines that may import a library of tens of megabytes."""

ENTRIES = (
    "pipelines.cli.entry",
    "pipelines.cli.main",
    "components.trainjob.launcher",
    *(f"components.{name}.stage" for name in ("prepare", "rollout", "reward", "train", "trainjob", "publish")),
    "components.pod.supervisor",
)


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def package_of(path: Path) -> str:
    """Return the folder below components or pipelines, or the file's own name where there is none."""
    return path.relative_to(REPOSITORY).parts[1].removesuffix(".py")


def imports(path: Path) -> Iterator[list[str]]:
    """Yield the dotted name of every import of a file, split, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{name_of(path)}: imports are absolute"
            names = node.module.split(".")
            yield from ([*names, alias.name] for alias in node.names)


def test_no_file_is_too_long() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: lines for name, lines in lengths.items() if lines > FILE_LINES}


def test_no_function_is_too_long() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{name_of(path)}:{node.lineno} {node.name}"] = lines
    assert not long


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    for path in (REPOSITORY / "components" / package).rglob("*.py"):
        for top, *rest in imports(path):
            assert top != "pipelines", f"{name_of(path)} imports pipelines"
            if top == "components" and rest[0] in MAY_IMPORT:
                assert rest[0] in allowed, f"{name_of(path)} imports components.{rest[0]}"


def test_every_component_is_placed() -> None:
    folders = {path.parent.name for path in (REPOSITORY / "components").glob("*/__init__.py")}
    assert folders == set(MAY_IMPORT)


def test_heavy_libraries_are_imported_where_they_belong() -> None:
    for path in FILES:
        for top, *_ in imports(path):
            assert package_of(path) in HEAVY.get(top, {package_of(path)}), f"{name_of(path)} imports {top}"


def test_the_command_line_and_the_stages_start_without_heavy_libraries() -> None:
    code = f"import sys, {', '.join(ENTRIES)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {*HEAVY, "kfp"} & set(done.stdout.split())
