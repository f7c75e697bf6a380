"""Whatever Kubernetes answers is one clear line; what passes by itself is waited for."""

import os
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.trainjob import kubernetes_api
from components.trainjob.stage import run_stage
from tests.support.kubernetes_server import Fault, Server
from tests.support.training_job import SETTINGS, Acting, Ready


def refused(ready: Ready) -> str:
    with pytest.raises(InputError) as error:
        run_stage(ready.run.uri, 1, SETTINGS)
    (line,) = str(error.value).splitlines()
    assert len(line) < 700
    return line


def test_no_right_to_create_a_job(ready: Ready, server: Server) -> None:
    message = (
        'trainjobs.trainer.kubeflow.org is forbidden: User "system:serviceaccount:rapid:default" cannot create '
        'resource "trainjobs" in API group "trainer.kubeflow.org" in the namespace "rapid"'
    )
    server.faults = [Fault("create", "trainjobs", 403, message=message)]
    assert refused(ready) == (
        f"cannot create TrainJob rapid/{ready.job}: Kubernetes answered 403 ({message}); "
        "give this service account the role in k8s/ that launches training jobs"
    )


def test_no_runtime(ready: Ready, server: Server) -> None:
    server.state.runtimes.clear()
    line = refused(ready)
    assert line.startswith("cannot use TrainingRuntime 'rapid-train' in namespace 'rapid': Kubernetes answered 404")
    assert "apply k8s/" in line


def test_a_runtime_that_is_none_of_pytorch(ready: Ready, server: Server) -> None:
    del server.state.runtimes["rapid-train"]["metadata"]["labels"]["trainer.kubeflow.org/framework"]
    assert "must have trainer.kubeflow.org/framework label" in refused(ready)


@pytest.mark.usefixtures("server")
def test_a_toleration_that_kubernetes_does_not_know(ready: Ready) -> None:
    settings = SETTINGS.model_copy(update={"tolerations": ({"tolerationSeconds": "long"},)})
    with pytest.raises(InputError, match=r"cannot create TrainJob .*tolerationSeconds"):
        run_stage(ready.run.uri, 1, settings)


def test_no_right_to_read_the_runtime(ready: Ready, server: Server) -> None:
    server.faults = [Fault("get", "trainingruntimes", 403)]
    assert "Kubernetes answered 403 (Forbidden); apply k8s/ to this namespace" in refused(ready)


def test_no_trainer_on_the_cluster(ready: Ready, server: Server) -> None:
    server.installed = False
    assert refused(ready) == (
        f"cannot look at TrainJob rapid/{ready.job}: Kubernetes answered 404 (Not Found); "
        "install Kubeflow Trainer 2.3 or newer, whose resources these are"
    )


@pytest.mark.usefixtures("server")
def test_a_job_that_the_cluster_does_not_take(ready: Ready) -> None:
    """The settings' quantities are words until Kubernetes reads them."""
    with pytest.raises(InputError) as error:
        run_stage(ready.run.uri, 1, SETTINGS.model_copy(update={"resources": {"memory": "much"}}))
    line = str(error.value)
    assert line.startswith(f"cannot create TrainJob rapid/{ready.job}: Kubernetes answered 422")
    assert "'much' does not match" in line


def test_credentials_that_are_not_accepted(ready: Ready, server: Server) -> None:
    server.faults = [Fault("get", "trainjobs", 401)]
    assert "Kubernetes answered 401 (Unauthorized)" in refused(ready)


@pytest.mark.parametrize(
    ("verb", "kind", "status"),
    [
        ("get", "trainjobs", 503),
        ("create", "trainjobs", 500),
        ("create", "trainjobs", 0),
        ("get", "trainingruntimes", 429),
        ("list", "pods", 0),
    ],
)
def test_a_server_that_restarts_is_waited_for(
    ready: Ready, server: Server, acting: Acting, verb: str, kind: str, status: int
) -> None:
    server.faults = [Fault(verb, kind, status, times=3)]
    with acting(ready.train):
        run_stage(ready.run.uri, 1, SETTINGS)
    assert len(server.state.created) == 1


def test_a_server_that_stays_away(ready: Ready, server: Server) -> None:
    server.faults = [Fault("get", "trainjobs", 503, message="etcdserver: leader changed")]
    assert refused(ready) == (
        f"cannot look at TrainJob rapid/{ready.job}: Kubernetes answered 503 (etcdserver: leader changed); "
        "start the stage again once the cluster is well"
    )
    assert len(server.requests) == 7


def test_a_server_that_does_not_answer(ready: Ready, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_api, "_TIMEOUT", (0.1, 0.1))
    server.faults = [Fault("get", "trainjobs", -1)]
    line = refused(ready)
    assert line.startswith(f"cannot look at TrainJob rapid/{ready.job}: Kubernetes cannot be reached (")
    assert "timed out" in line


def test_no_server(ready: Ready, server: Server) -> None:

    server.url = "http://127.0.0.1:9"
    server.kubeconfig(Path(os.environ["KUBECONFIG"]))
    line = refused(ready)
    assert "Kubernetes cannot be reached" in line
    assert "Connection refused" in line


@pytest.mark.usefixtures("server")
def test_no_cluster_at_all(ready: Ready) -> None:

    Path(os.environ["KUBECONFIG"]).unlink()
    assert refused(ready).startswith("cannot reach Kubernetes: not running in a pod, and ")


def test_a_job_that_cannot_be_cleared_away_is_no_failure(
    ready: Ready, server: Server, acting: Acting, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [Fault("delete", "trainjobs", 403)]
    with acting(ready.train):
        assert run_stage(ready.run.uri, 1, SETTINGS).facts["outcome"] == "trained"
    assert f"cannot delete TrainJob rapid/{ready.job}: Kubernetes answered 403" in capsys.readouterr().err
