"""Output directories: done exactly when their manifest says so."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.contract.layout import manifest_key
from components.contract.manifest import Manifest, policy_digests
from components.runtime.clock import Clock
from components.store import Attempt, ObjectMissing, OutputDirectory, Run, StageOutput, Store, Superseded
from components.store.local import LocalStore
from components.store.run import newest_number

KEY = "runs/demo/iterations/0001/train"


@pytest.fixture
def directory(store: Store) -> OutputDirectory:
    return OutputDirectory(store, KEY)


def output_of(directory: OutputDirectory, inputs: dict[str, str] | None = None, digest: str = "c1") -> StageOutput:
    """The directory as a process of the train stage writes it."""
    given = {"policy": "p1"} if inputs is None else inputs
    return StageOutput(directory.store, directory.key, "train", "demo", given, digest, 1, 2)


FACTS = {"outcome": "trained", "gap": 1e-7, "early": None}


def commit(directory: OutputDirectory) -> Manifest:
    """Two files and the manifest that names them."""
    output = output_of(directory)
    output.write("a.txt", b"alpha", rows=3)
    output.write("deep/b.txt", b"beta")
    return output.commit(Clock().timings(), FACTS)


def test_nothing_is_committed_before_the_manifest(directory: OutputDirectory) -> None:
    output = output_of(directory)
    output.write("a.txt", b"alpha")
    assert directory.manifest() is None
    assert output.committed() is None
    assert not directory.has_policy()
    for use in (directory.require, lambda: directory.read("a.txt"), lambda: directory.fetch(Path("never"))):
        with pytest.raises(InputError, match=r"train has no manifest: the stage that writes it has not finished"):
            use()


def test_a_committed_directory_is_found_and_reads_back(directory: OutputDirectory) -> None:
    manifest = commit(directory)
    assert directory.manifest() == manifest
    assert output_of(directory).committed() == manifest
    assert directory.read("a.txt") == b"alpha"
    assert directory.read("deep/b.txt", manifest) == b"beta"
    assert manifest.outputs[0].rows == 3
    assert manifest.facts["gap"] == 1e-7


@pytest.mark.parametrize(
    ("inputs", "digest", "reason"),
    [
        ({"policy": "p1"}, "c2", "another configuration"),
        ({"policy": "p2"}, "c1", r"other inputs \(policy\)"),
        ({"policy": "p1", "rewards/000": "r"}, "c1", r"other inputs \(rewards/000\)"),
        ({}, "c1", r"other inputs \(policy\)"),
    ],
)
def test_what_was_made_of_something_else_is_not_taken_for_ours(
    directory: OutputDirectory, inputs: dict[str, str], digest: str, reason: str
) -> None:
    before = commit(directory)
    with pytest.raises(InputError, match=rf"train was committed from {reason}; use another run.name, or restore"):
        output_of(directory, inputs, digest).committed()
    assert directory.require() == before


def test_committing_the_same_twice_keeps_the_first(directory: OutputDirectory) -> None:
    output, late = output_of(directory), output_of(directory)
    for one in (output, late):
        one.write("a.txt", b"alpha")
    first = output.commit(Clock().timings())
    assert late.commit(Clock().timings()) == first
    assert directory.require() == first


def test_a_retracted_directory_can_be_committed_again(directory: OutputDirectory) -> None:
    commit(directory)
    output = output_of(directory, {"policy": "p2"})
    output.retract()
    output.write("a.txt", b"new")
    assert output.commit(Clock().timings()) == directory.require()
    assert directory.read("a.txt") == b"new"


MEANWHILE = "train was committed meanwhile: another process is executing the same run; stop one of them"


def test_two_processes_that_commit_different_things_are_refused(directory: OutputDirectory) -> None:
    other = output_of(directory)
    other.write("other.txt", b"other")
    first = commit(directory)
    with pytest.raises(InputError, match=MEANWHILE):
        other.commit(Clock().timings())
    assert directory.require() == first
    assert directory.read("a.txt") == b"alpha"


def test_a_committed_directory_is_not_written_again(directory: OutputDirectory, tmp_path: Path) -> None:
    commit(directory)
    before = {info.key: directory.store.read(info.key) for info in directory.store.list(directory.key)}
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.txt").write_bytes(b"of the late process")
    (tmp_path / "made" / "new.txt").write_bytes(b"of the late process")
    late = output_of(directory)
    writes: list[Callable[[], None]] = [
        lambda: late.upload(tmp_path / "made"),
        lambda: late.write("a.txt", b"of the late process"),
        lambda: late.write("new.txt", b"of the late process"),
    ]
    for write in writes:
        with pytest.raises(InputError, match=MEANWHILE):
            write()
    assert {info.key: directory.store.read(info.key) for info in directory.store.list(directory.key)} == before


def test_an_upload_stops_where_another_process_commits(
    directory: OutputDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").mkdir()
    for name in ("a.txt", "z.txt"):
        (tmp_path / "made" / name).write_bytes(b"of the slow process")
    upload = directory.store.upload

    def upload_and_lose(path: Path, key: str) -> None:
        upload(path, key)
        monkeypatch.undo()
        commit(directory)

    monkeypatch.setattr(directory.store, "upload", upload_and_lose)
    with pytest.raises(InputError, match=MEANWHILE):
        output_of(directory).upload(tmp_path / "made")
    assert directory.read("a.txt") == b"alpha"
    assert not directory.store.exists(f"{KEY}/z.txt")


def test_files_that_no_manifest_names_are_not_read(directory: OutputDirectory, tmp_path: Path) -> None:
    output_of(directory).write("stray.txt", b"left by a killed process")
    commit(directory)
    with pytest.raises(InputError, match=r"the manifest of .*/train names no stray.txt"):
        directory.read("stray.txt")
    if not isinstance(directory.store, LocalStore):
        directory.fetch(tmp_path / "into")
        assert not (tmp_path / "into" / "stray.txt").exists()


def test_a_corrupted_file_is_refused(directory: OutputDirectory, tmp_path: Path) -> None:
    commit(directory)
    directory.store.write(f"{KEY}/deep/b.txt", b"bexa")
    message = r"train/deep/b.txt is corrupted: SHA-256 [0-9a-f]{12}\.\.\., committed as [0-9a-f]{12}\.\.\.; restore it"
    with pytest.raises(InputError, match=message):
        directory.read("deep/b.txt")
    with pytest.raises(InputError, match=message):
        directory.fetch(tmp_path / "into")
    assert directory.read("a.txt") == b"alpha"


def test_a_file_that_is_gone_is_named(directory: OutputDirectory, tmp_path: Path) -> None:
    commit(directory)
    directory.store.delete(f"{KEY}/deep/b.txt")
    message = r"train/deep/b.txt is gone, though the manifest beside it names it; restore it"
    with pytest.raises(ObjectMissing, match=message):
        directory.read("deep/b.txt")
    with pytest.raises(ObjectMissing, match=message):
        directory.fetch(tmp_path / "into")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a manifest of this program"),
        (b"{", "is not a manifest of this program"),
        (b'{"version": 3}', r"stage is required"),
        (b'{"version": 99, "anything": 1}', r"was written by another version of RAPID \(format 99, this one reads 3\)"),
        (b"\xff\xfe" * 1_000, "is not a manifest of this program"),
    ],
)
def test_what_is_no_manifest_is_said_in_one_short_line(directory: OutputDirectory, data: bytes, reason: str) -> None:
    directory.store.write(manifest_key(KEY), data)
    with pytest.raises(InputError, match=reason) as refused:
        directory.manifest()
    assert directory.store.locate(manifest_key(KEY)) in str(refused.value)
    assert len(str(refused.value)) < 900
    assert "\n" not in str(refused.value)


def test_upload_keeps_the_tree_and_its_digests(directory: OutputDirectory, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    (policy / "sub").mkdir(parents=True)
    (policy / "model.safetensors").write_bytes(b"weights")
    (policy / "sub" / "tokenizer.json").write_bytes(b"{}")
    # A Hugging Face cache holds links to its blobs.
    (policy / "config.json").symlink_to(policy / "sub" / "tokenizer.json")
    output = output_of(directory)
    output.upload(policy, below="policy")
    assert [file.path for file in output.files] == [
        "policy/config.json",
        "policy/model.safetensors",
        "policy/sub/tokenizer.json",
    ]
    output.write("metrics.json", b"{}")
    manifest = output.commit(Clock().timings())
    assert directory.has_policy()
    assert policy_digests(manifest.outputs) != policy_digests(manifest.outputs[:1])

    fetched = directory.fetch(tmp_path / "into", below="policy")
    assert (fetched / "model.safetensors").read_bytes() == b"weights"
    assert (fetched / "sub" / "tokenizer.json").read_bytes() == b"{}"
    if isinstance(directory.store, LocalStore):
        assert fetched == directory.store.root / KEY / "policy", "local files are not copied"
        assert not (tmp_path / "into").exists()
    else:
        assert fetched == tmp_path / "into"
        assert not (fetched / "metrics.json").exists()
        assert not (fetched / "policy").exists()


def test_fetch_takes_a_whole_folder_name(directory: OutputDirectory, tmp_path: Path) -> None:
    output = output_of(directory)
    output.write("policy/a", b"1")
    output.write("policy-old/a", b"2")
    output.commit(Clock().timings())
    directory.store.delete(f"{KEY}/policy-old/a")
    fetched = directory.fetch(tmp_path / "into", below="policy")
    assert (fetched / "a").read_bytes() == b"1"


def test_a_manifest_is_readable_json_with_its_provenance(directory: OutputDirectory) -> None:
    commit(directory)
    stored = json.loads(directory.store.read(manifest_key(KEY)))
    assert stored["stage"] == "train"
    assert (stored["run"], stored["iteration"], stored["shard"]) == ("demo", 1, 2)
    assert stored["inputs"] == {"policy": "p1"}
    assert stored["outputs"][1]["path"] == "deep/b.txt"
    assert stored["outputs"][1]["size"] == 4
    assert set(stored["timings"]) == {"started", "finished", "start", "load", "compute", "store", "usage"}


def test_newest_policy_of_a_run(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert run.policy_version() == 0
    for version in (1, 2):
        trained = run.output("train", run.layout.policy(version), {}, attempt=run.claim("train"))
        trained.write("model.safetensors", b"w")
        trained.commit(Clock().timings())
        assert run.policy_version() == version
        assert run.policy_location(version).endswith(f"train/policy/attempt-000{version}")
    # A stage that found the target reached commits no weights.
    run.output("train", run.layout.policy(3), {}).commit(Clock().timings(), {"outcome": "target_reached"})
    assert run.policy_version() == 2
    assert run.stopped()


@pytest.mark.parametrize("newest", [0, 1, 2, 3, 6, 7, 8, 100])
def test_the_newest_of_many_is_found_with_few_requests(newest: int) -> None:
    asked: list[int] = []

    def exists(number: int) -> bool:
        asked.append(number)
        return number <= newest

    assert newest_number(exists) == newest
    assert len(asked) <= 2 * (newest + 2).bit_length()


def attempted(directory: OutputDirectory, **options: Any) -> StageOutput:
    """The directory as the next attempt of the train worker writes it."""
    attempt = Attempt.claim(directory.store, "runs/demo/workers/train")
    return replace(output_of(directory, **options), attempt=attempt)


def test_attempts_never_touch_each_others_files(directory: OutputDirectory) -> None:
    first, second = attempted(directory), attempted(directory)
    second.write("a.txt", b"of the second")
    with pytest.raises(Superseded, match="attempt 1 of worker train stops: attempt 2 has taken over its work"):
        first.write("a.txt", b"of the first")
    manifest = second.commit(Clock().timings())
    assert [file.path for file in manifest.outputs] == ["attempt-0002/a.txt"]
    assert directory.read("a.txt") == directory.read("attempt-0002/a.txt") == b"of the second"
    with pytest.raises(Superseded):
        first.commit(Clock().timings())


def test_what_other_attempts_left_is_removed_by_the_commit(directory: OutputDirectory) -> None:
    killed = attempted(directory)
    killed.write("a.txt", b"half of it")
    directory.store.write(f"{KEY}/policy/manifest.json", b"of another directory")
    second = attempted(directory)
    second.write("b.txt", b"whole")
    second.commit(Clock().timings())
    names = [info.key.removeprefix(f"{KEY}/") for info in directory.store.list(KEY)]
    assert names == ["attempt-0002/b.txt", "manifest.json", "policy/manifest.json"]


def test_the_attempt_that_commits_first_decides(directory: OutputDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    late, early = attempted(directory), attempted(directory)
    # The earlier attempt looked for a later one just before that began.
    monkeypatch.setattr(Attempt, "require_newest", lambda _: None)
    for output, data in ((early, b"one"), (late, b"other")):
        output.write("a.txt", data)
    first = early.commit(Clock().timings())
    assert late.commit(Clock().timings()) == first
    assert directory.read("a.txt") == b"one"
    foreign = attempted(directory, inputs={"policy": "p2"})
    foreign.write("a.txt", b"from another policy")
    with pytest.raises(InputError, match=MEANWHILE):
        foreign.commit(Clock().timings())


def test_every_claim_gets_its_own_number(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: Attempt.claim(store, "runs/demo/workers/train").number, range(16)))
    assert sorted(numbers) == list(range(1, 17))
