"""Manifests and digests."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contract.digests import bytes_digest, derive_seed, file_digest, json_digest
from components.contract.errors import InputError
from components.contract.manifest import Manifest, Output, Timings, outputs_digest, policy_digests

BEGIN = datetime(2026, 1, 5, 12, tzinfo=UTC)
TIMINGS = Timings(started=BEGIN, finished=BEGIN + timedelta(seconds=90), start=10, load=20, compute=50, store=5)


def output(path: str, content: str = "x") -> Output:
    return Output(path=path, size=len(content), sha256=bytes_digest(content.encode()))


def manifest(*outputs: Output) -> Manifest:
    return Manifest(
        stage="train",
        run="demo",
        iteration=3,
        inputs={"policy": "p", "rewards/000": "r"},
        config_digest="c",
        outputs=outputs,
        code_version="1",
        timings=TIMINGS,
        facts={"whole": 3, "share": 0.1, "flag": True, "none": None, "word": "3"},
    )


def test_a_manifest_goes_there_and_back() -> None:
    before = manifest(output("policy/model.safetensors"), output("metrics.json"))
    after = Manifest.from_json(before.to_json(), "it")
    assert after == before
    assert [type(value) for value in after.facts.values()] == [int, float, bool, type(None), str]
    assert after.timings.seconds == 100


def test_the_digest_stands_for_the_content_alone() -> None:
    a, b = output("a", "1"), output("b", "2")
    digest = manifest(a, b).digest
    assert manifest(b, a).digest == digest
    assert manifest(a, b).model_copy(update={"code_version": "2", "facts": {}}).digest == digest
    for other in (manifest(a), manifest(a, output("b", "3")), manifest(a, output("c", "2")), manifest()):
        assert other.digest != digest


def test_why_a_manifest_does_not_fit() -> None:
    found = manifest()
    assert found.mismatch({"rewards/000": "r", "policy": "p"}, "c") is None
    assert found.mismatch({"policy": "p", "rewards/000": "r"}, "d") == "another configuration"
    assert found.mismatch({"policy": "q", "rewards/001": "r"}, "c") == "other inputs (policy, rewards/000, rewards/001)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "xyz"}, "must match "),
        ({"sha256": "A" * 64}, "must match "),
        ({"size": -1}, "must be at least 0"),
    ],
)
def test_impossible_outputs(change: dict[str, object], message: str) -> None:
    text = manifest(output("a")).model_dump(mode="json")
    text["outputs"][0] |= change
    with pytest.raises(InputError, match=rf"^it is not a manifest of this program: outputs.0.\w+ {message}"):
        Manifest.from_json(json.dumps(text).encode(), "it")


def test_weights_and_tokenizer_have_digests_of_their_own() -> None:
    files = [
        output("attempt-0001/model-00001-of-00002.safetensors", "1"),
        output("attempt-0001/model-00002-of-00002.safetensors", "2"),
        output("attempt-0001/tokenizer.json", "t"),
        output("attempt-0001/config.json", "c"),
    ]
    digests = policy_digests(files)
    of_another_attempt = [file.model_copy(update={"path": f"attempt-0012/{file.name}"}) for file in files]
    assert digests == policy_digests(of_another_attempt), "identity is content"
    assert outputs_digest(files) == outputs_digest(of_another_attempt)
    retrained = policy_digests([output(files[0].path, "9"), *files[1:]])
    assert retrained["weights_digest"] != digests["weights_digest"]
    assert retrained["tokenizer_digest"] == digests["tokenizer_digest"]
    retokenized = policy_digests([*files, output("attempt-0001/chat_template.jinja")])
    assert retokenized["weights_digest"] == digests["weights_digest"]
    assert retokenized["tokenizer_digest"] != digests["tokenizer_digest"]


def test_digests_are_sha256(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert bytes_digest(b"") == empty
    (tmp_path / "f").write_bytes(b"")
    assert file_digest(tmp_path / "f") == empty
    assert json_digest({"b": 1, "a": [None, 0.5]}) == bytes_digest(b'{"a":[null,0.5],"b":1}')


def test_seeds_are_the_same_on_every_machine_and_differ_by_place() -> None:
    assert derive_seed(7, "iteration-0001", 0) == 1393093002
    seeds = {derive_seed(7, "iteration-0001", shard, prompt) for shard in range(20) for prompt in range(200)}
    assert len(seeds) > 3_995
    assert derive_seed(1, 12) != derive_seed(11, 2)
    assert derive_seed("1") != derive_seed(1)


@given(st.lists(st.integers() | st.text()))
def test_seeds_fit_31_bits(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**31
