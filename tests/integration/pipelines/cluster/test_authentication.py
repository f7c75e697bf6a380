"""Every way to say who one is, as the server sees it."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.kfp_server import KfpServer, kfp_server

Rapid = Callable[..., "Said"]  # noqa: F821 - of conftest


def headers(server: KfpServer) -> dict[str, str]:
    return server.requests[-1][2]


def test_a_token_in_the_environment(rapid: Rapid, server: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "t0ken"
    said = rapid("runs")
    assert said.status == 2
    assert "(no credentials) refused access to runs (401" in said.error
    monkeypatch.setenv("RAPID_KFP_TOKEN", "wrong")
    assert "(token from RAPID_KFP_TOKEN) refused access" in rapid("runs").error
    monkeypatch.setenv("RAPID_KFP_TOKEN", "t0ken\n")
    assert rapid("runs").status == 0


def test_a_token_in_a_file_is_read_before_each_request(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    server.token = "first"
    assert rapid("submit", config, "--cluster", small, "--token-file", file).status == 0
    (run_id,) = server.cluster.runs

    def rotate() -> None:
        file.write_text("second\n")
        server.token = "second"

    server.cluster.scripts[run_id] = [lambda: None, rotate, lambda: server.cluster.end(run_id, "SUCCEEDED")]
    said = rapid("status", "adder", "--watch", "--token-file", file)
    assert said.status == 0, said.err
    assert headers(server)["Authorization"] == "Bearer second"


def test_cookies_of_a_login_page(
    rapid: Rapid, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cookie = "authservice_session=abc"
    assert "a login page is in front of it" in rapid("runs").error
    file = tmp_path / "cookies"
    file.write_text("authservice_session=abc\n")
    assert rapid("runs", "--cookies-file", file).status == 0
    monkeypatch.setenv("RAPID_KFP_COOKIES", "authservice_session=abc")
    assert rapid("runs").status == 0


def test_the_token_of_a_pod(rapid: Rapid, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "projected"
    file.write_text("of-the-pod")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    server.token = "of-the-pod"
    assert rapid("runs").status == 0


def test_inside_the_cluster_its_own_service_and_namespace(
    rapid: Rapid, team_server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    namespace = tmp_path / "namespace"
    namespace.write_text("team")
    monkeypatch.setattr("pipelines.cluster.connection._POD_NAMESPACE", namespace)
    assert rapid("runs").status == 0
    assert "namespace=team" in team_server.requests[-1][1]
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT")
    said = rapid("runs")
    assert said.status == 1
    assert "cannot reach http://ml-pipeline.kubeflow.svc.cluster.local:8888" in said.error


def test_with_several_users_a_namespace_is_needed(
    rapid: Rapid, team_server: KfpServer, config: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = rapid("submit", config, "--cluster", small)
    assert said.status == 2
    assert "give --namespace or set RAPID_KFP_NAMESPACE" in said.error
    said = rapid("submit", config, "--cluster", small, "--namespace", "other")
    assert "check the namespace (got other)" in said.error
    monkeypatch.setenv("RAPID_KFP_NAMESPACE", "team")
    said = rapid("submit", config, "--cluster", small)
    assert said.status == 0, said.err
    (experiment,) = team_server.cluster.experiments.values()
    (pipeline,) = team_server.cluster.pipelines.values()
    assert experiment["namespace"] == pipeline["namespace"] == "team"
    assert rapid("runs").out.splitlines()[1].startswith("adder")


def test_googles_proxy_asks_the_sdk_for_its_token(
    rapid: Rapid, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get_auth_token(*words: str) -> tuple[str, bool]:
        asked.append(words)
        return "of-google", True

    monkeypatch.setattr("kfp.client.auth.get_auth_token", get_auth_token)
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "proxy")
    monkeypatch.setenv("KF_PIPELINES_APP_OAUTH2_CLIENT_ID", "app")
    monkeypatch.setenv("KF_PIPELINES_APP_OAUTH2_CLIENT_SECRET", "s3cret")
    server.token = "of-google"
    assert rapid("runs").status == 0
    assert asked == [("proxy", "app", "s3cret")]


def test_googles_proxy_without_credentials_of_google(
    rapid: Rapid, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "proxy")
    said = rapid("runs")
    assert said.status == 2
    assert "no token from Google's identity-aware proxy, client of KF_PIPELINES_IAP_OAUTH2_CLIENT_ID: " in said.error
    assert not server.requests


@pytest.mark.parametrize("content", ["# Netscape HTTP Cookie File\nhost\tTRUE\thunter2", "a=hunter2\nb=hunter2"])
@pytest.mark.parametrize("named", ["RAPID_KFP_TOKEN", "RAPID_KFP_COOKIES", "--token-file", "--cookies-file"])
def test_what_no_header_can_hold_is_refused_without_showing_it(
    rapid: Rapid, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, content: str
) -> None:
    file = tmp_path / "credential"
    file.write_text(content)
    if not named.startswith("--"):
        monkeypatch.setenv(named, content)
    said = rapid("runs", *([named, file] if named.startswith("--") else []))
    assert said.status == 2
    assert f"{file if named.startswith('--') else named} is not a valid header value" in said.error
    assert "hunter2" not in said.out + said.err
    assert not server.requests


def test_kubectls_configuration_leads_through_kubernetes_itself(
    rapid: Rapid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kfp_server(prefix="/api/v1/namespaces/kubeflow/services/ml-pipeline:8888/proxy") as served:
        file = tmp_path / "kubeconfig"
        file.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "kind",
                    "contexts": [{"name": "kind", "context": {"cluster": "kind", "user": "me"}}],
                    "clusters": [{"name": "kind", "cluster": {"server": served.url.partition("/api")[0]}}],
                    "users": [{"name": "me", "user": {"token": base64.b64encode(b"me").decode()}}],
                }
            )
        )
        monkeypatch.setenv("KUBECONFIG", str(file))
        said = rapid("runs")
        assert said.status == 0, said.err
        assert "ml-pipeline in kubeflow behind" in said.out
        assert "(kubectl's credentials)" in said.out
        assert headers(served)["Authorization"] == f"Bearer {base64.b64encode(b'me').decode()}"
        file.write_text("nonsense: [")
        said = rapid("runs")
        assert said.status == 2
        assert "kubectl's configuration cannot be used" in said.error


@pytest.mark.parametrize("option", ["--token-file", "--cookies-file", "--ca"])
def test_a_file_that_is_not_there(rapid: Rapid, server: KfpServer, option: str) -> None:
    said = rapid("runs", option, "/nowhere/file")
    assert said.status == 2
    assert f"cannot read /nowhere/file ({option}): No such file" in said.error
    assert not server.requests
