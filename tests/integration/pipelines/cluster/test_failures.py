"""Failures between this machine and the server: one clear line, never a traceback."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.kfp_server import KfpServer, kfp_server
from tests.support.kfp_server.server import Fault

Rapid = Callable[..., "Said"]  # noqa: F821 - of conftest


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault("/runs", status=401, body=b'{"message": "token expired"}'), 2, "(401: token expired): the token"),
        (Fault("/runs", status=403, body=b'{"message": "no"}'), 2, "check the namespace (none was given)"),
        (Fault("/runs", status=404, body=b"<html>", content_type="text/html"), 2, "does not respond as Kubeflow"),
        (Fault("/runs", status=500, body=b'{"message": "database is gone"}'), 1, "(500: database is gone); try again"),
        (Fault("/runs", status=503, body=b"upstream connect error"), 1, "failed at runs (503: Service Unavailable)"),
        (Fault("/runs", status=429, body=b""), 1, "429: Too Many Requests"),
        (Fault("/runs", status=200, body=b"<html>Log in</html>", content_type="text/html"), 2, "a login page"),
        (Fault("/runs", status=400, body=b'{"message": "a namespace is required"}'), 2, "give --namespace"),
        (Fault("/runs", hang_up=True), 1, "closed the connection before it responded"),
    ],
    ids=lambda value: f"{value.status}-{value.body[:9]!r}" if isinstance(value, Fault) else None,
)
def test_what_the_server_answers_is_said_in_one_line(
    rapid: Rapid, server: KfpServer, fault: Fault, status: int, words: str
) -> None:
    server.faults.append(fault)
    said = rapid("runs")
    assert words in said.error
    assert said.status == status
    assert server.url in said.error


def test_a_server_that_takes_too_long(rapid: Rapid, server: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cluster.client.READ_SECONDS", 0.2)
    server.faults.append(Fault("/runs", seconds=0.6))
    said = rapid("runs")
    assert said.status == 1
    assert "did not respond within" in said.error


def test_without_an_answer_nobody_knows_whether_the_run_was_started(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rapid("submit", config, "--cluster", small, "run.name=before")
    monkeypatch.setattr("pipelines.cluster.client.READ_SECONDS", 2)
    (before,) = server.cluster.runs
    server.cluster.end(before, "SUCCEEDED")
    server.faults += [
        Fault("/runs?", after=False, status=200, body=b"{}", times=2),
        Fault("/runs", after=True, seconds=4),
    ]
    said = rapid("submit", config, "--cluster", small)
    assert said.status == 1
    assert "the request may have succeeded: check with rapid runs" in said.error
    # It was, and was not sent a second time.
    assert [run["display_name"] for run in server.cluster.runs.values()] == ["before", "adder"]


@pytest.mark.parametrize(
    ("endpoint", "status", "words"),
    [
        ("http://127.0.0.1:9", 1, "cannot reach http://127.0.0.1:9"),
        ("http://no-such-host.invalid", 1, "cannot reach http://no-such-host.invalid"),
        ("kubeflow.example.com", 2, "must be a URL such as https://"),
        ("http://[kubeflow", 2, "must be a URL such as https://"),
        ("http://kubeflow.example.com:port", 2, "must be a URL such as https://"),
        ("https://me:hunter2@kubeflow.example.com", 2, "must not contain a user, password or query"),
    ],
)
def test_wrong_endpoints(rapid: Rapid, endpoint: str, status: int, words: str) -> None:
    said = rapid("runs", "--endpoint", endpoint)
    assert said.status == status
    assert words in said.error


def test_the_address_of_the_pages_serves_too(rapid: Rapid, server: KfpServer) -> None:
    assert rapid("runs", "--endpoint", f"{server.url}/#/runs").status == 0
    assert rapid("runs", "--endpoint", f"{server.url}/").status == 0


def test_the_wrong_path_of_the_right_host(rapid: Rapid, server: KfpServer) -> None:
    assert "often ends in /pipeline" in rapid("runs", "--endpoint", f"{server.url}/wrong").error


def test_what_was_given_as_options_is_part_of_the_way_back(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "rapid status adder --watch (" in rapid("submit", config, "--cluster", small).out
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT")
    said = rapid("cancel", "adder", "--endpoint", server.url, "--namespace", "team")
    assert said.out.endswith(f"rapid resume adder --endpoint {server.url} --namespace team\n")


def test_no_way_to_a_cluster(rapid: Rapid) -> None:
    said = rapid("runs")
    assert said.status == 2
    assert "pass --endpoint, set KF_PIPELINES_ENDPOINT" in said.error


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem", folder / "key.pem"


def test_an_authority_of_ones_own(rapid: Rapid, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    assert ssl.HAS_TLSv1_2
    with kfp_server(certificate=certificate) as served:
        said = rapid("runs", "--endpoint", served.url)
        assert said.status == 2
        assert "the certificate cannot be verified" in said.error
        assert "--ca or RAPID_KFP_CA" in said.error
        assert rapid("runs", "--endpoint", served.url, "--ca", certificate[0]).status == 0
        assert "cannot read" in rapid("runs", "--endpoint", served.url, "--ca", tmp_path / "none.pem").error
        garbage = tmp_path / "garbage.pem"
        garbage.write_text("no certificate")
        said = rapid("runs", "--endpoint", served.url, "--ca", garbage)
        assert said.status == 2
        assert "cannot be verified" in said.error or "certificate" in said.error.lower()
