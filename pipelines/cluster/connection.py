"""The address of Kubeflow Pipelines, the credentials for it, and the errors of requests to it.

The generated client (kfp_server_api) is configured here. kfp.Client is not used: its constructor requests the server's
health up to five times with pauses, and it writes to ~/.config/kfp, has no timeouts and prints links. The ways to
authenticate and the names of KFP's environment variables are the same.
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from components.contract.errors import InputError

if TYPE_CHECKING:
    from kfp_server_api import ApiClient, Configuration

ENDPOINT = "KF_PIPELINES_ENDPOINT"
UI = "KF_PIPELINES_UI_ENDPOINT"
NAMESPACE = "RAPID_KFP_NAMESPACE"
CA = "RAPID_KFP_CA"
TOKEN_FILE = "RAPID_KFP_TOKEN_FILE"
COOKIES_FILE = "RAPID_KFP_COOKIES_FILE"
TOKEN = "RAPID_KFP_TOKEN"
COOKIES = "RAPID_KFP_COOKIES"
INSTALLED_IN = "RAPID_KFP_INSTALLED_IN"
"""The namespace in which Kubeflow Pipelines itself is installed; `kubeflow` by default."""

_SERVICE = "ml-pipeline"
_POD_TOKEN, _POD_TOKEN_VARIABLE = "/var/run/secrets/kubeflow/pipelines/token", "KF_PIPELINES_SA_TOKEN_PATH"
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_IAP = "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"
_IAP_APP = ("KF_PIPELINES_APP_OAUTH2_CLIENT_ID", "KF_PIPELINES_APP_OAUTH2_CLIENT_SECRET")


class ClusterUnavailable(Exception):
    """The server did not answer or failed. The same request may succeed later."""


class NotFound(InputError):
    """The requested object does not exist."""


class AlreadyExists(InputError):
    """An object of that name already exists."""


@dataclass(frozen=True)
class Connection:
    """The connection options of a command; everything else comes from the environment."""

    endpoint: str | None = None
    namespace: str | None = None
    """The user's namespace in a multi-user Kubeflow."""
    ca: Path | None = None
    token_file: Path | None = None
    cookies_file: Path | None = None

    @property
    def is_given(self) -> bool:
        """True if a cluster is configured."""
        return bool(self.endpoint) or _in_cluster() or any(path.is_file() for path in _kubeconfigs())

    @property
    def options(self) -> str:
        """The options to repeat with the next command, preceded by a space; without those set in the environment."""
        given = {
            ENDPOINT: ("--endpoint", self.endpoint),
            NAMESPACE: ("--namespace", self.namespace),
            CA: ("--ca", self.ca),
            TOKEN_FILE: ("--token-file", self.token_file),
            COOKIES_FILE: ("--cookies-file", self.cookies_file),
        }
        return "".join(
            f" {option} {shlex.quote(str(value))}"
            for variable, (option, value) in given.items()
            if value and os.environ.get(variable) != str(value)
        )

    @property
    def ui(self) -> str | None:
        """Address of Kubeflow's pages without a trailing slash; None if unknown."""
        url = os.environ.get(UI) or self.endpoint
        return url.rstrip("/") if url else None

    @property
    def pod_namespace(self) -> str | None:
        """The namespace of the pod that this process runs in; None outside of pods."""
        return _POD_NAMESPACE.read_text(encoding="ascii").strip() if _POD_NAMESPACE.is_file() else None

    def api(self) -> tuple["ApiClient", str]:
        """Return the client, and a description of the server and the credentials for messages.

        Raises:
            InputError: no cluster is configured, or a given file cannot be read.
        """
        import urllib3
        from kfp_server_api import ApiClient, Configuration

        config = Configuration()
        # A request that may have succeeded is not repeated.
        config.retries = urllib3.Retry(connect=1, read=0, status=0, other=0, redirect=3)
        where = self._locate(config)
        if self.ca:
            _readable(self.ca, "--ca")
            config.ssl_ca_cert = str(self.ca)
        # Behind the Kubernetes API, which consumes the credentials.
        credentials = "kubectl's credentials" if config.refresh_api_key_hook else self._authenticate(config)
        cookies = self._cookies()
        client = ApiClient(config, cookie=cookies)
        return (
            client,
            f"{where} ({' and '.join(filter(None, [credentials, cookies and 'cookies'])) or 'no credentials'})",
        )

    def _locate(self, config: "Configuration") -> str:
        if self.endpoint:
            config.host = host = _checked(self.endpoint)
            return host
        installed = kfp_namespace()
        if _in_cluster():
            config.host = host = f"http://{_SERVICE}.{installed}.svc.cluster.local:8888"
            return host
        if not any(path.is_file() for path in _kubeconfigs()):
            raise InputError(f"no Kubeflow Pipelines endpoint: pass --endpoint, set {ENDPOINT}, or configure kubectl")
        server = _through_kubernetes(config)
        config.host = f"{server}/api/v1/namespaces/{installed}/services/{_SERVICE}:8888/proxy"
        return f"{_SERVICE} in {installed} behind {server}"

    def _authenticate(self, config: "Configuration") -> str:
        """Set the token and describe its source. A token in a file is read again before each request."""
        from kfp.client import ServiceAccountTokenVolumeCredentials, auth

        pod_token = Path(os.environ.get(_POD_TOKEN_VARIABLE) or _POD_TOKEN)
        file = self.token_file or (None if os.environ.get(TOKEN) else pod_token)
        if self.token_file:
            _readable(self.token_file, "--token-file")
        if file and file.is_file():
            config.refresh_api_key_hook = ServiceAccountTokenVolumeCredentials(str(file)).refresh_api_key_hook
            token, source = _credential(file.read_text(encoding="ascii"), str(file)), f"token from {file}"
        elif TOKEN in os.environ:
            token, source = _credential(os.environ[TOKEN], TOKEN), f"token from {TOKEN}"
        elif _IAP in os.environ:
            source = f"Google's identity-aware proxy, client of {_IAP}"
            try:
                # Opens a browser the first time; the refresh token is kept in ~/.config/kfp.
                token, _ = auth.get_auth_token(os.environ[_IAP], *(os.environ.get(name) for name in _IAP_APP))
            except Exception as error:  # whatever Google's libraries raise, of several kinds
                raise InputError(f"no token from {source}: {' '.join(str(error).split())}") from None
        else:
            return ""
        config.api_key["authorization"] = token
        config.api_key_prefix["authorization"] = "Bearer"
        return source

    def _cookies(self) -> str | None:
        if self.cookies_file:
            return _credential(_readable(self.cookies_file, "--cookies-file"), str(self.cookies_file))
        return _credential(os.environ[COOKIES], COOKIES) if COOKIES in os.environ else None


def _through_kubernetes(config: "Configuration") -> str:
    """Apply kubectl's configuration; return the address of the Kubernetes API.

    It is loaded into a separate configuration, because the loader installs a hook that resets everything, the address
    included, before each request.
    """
    from kubernetes import client
    from kubernetes import config as kubernetes

    loaded = client.Configuration()
    try:
        kubernetes.load_kube_config(os.pathsep.join(map(str, _kubeconfigs())), client_configuration=loaded)
    except Exception as error:  # whatever its parsers raise
        raise InputError(f"kubectl's configuration cannot be used: {error}; or give --endpoint") from None
    for name in ("verify_ssl", "ssl_ca_cert", "cert_file", "key_file"):
        setattr(config, name, getattr(loaded, name))

    def refresh(config: "Configuration") -> None:
        if loaded.refresh_api_key_hook:
            loaded.refresh_api_key_hook(loaded)
        config.api_key.update(loaded.api_key)

    refresh(config)
    config.refresh_api_key_hook = refresh
    return str(loaded.host)


def _checked(endpoint: str) -> str:
    url = endpoint.rstrip("/")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # malformed brackets or ports
        whole = False
    if not whole:
        raise InputError(f"--endpoint must be a URL such as https://kubeflow.example.com/pipeline (got {endpoint!r})")
    if "@" in parts.netloc or parts.query:
        raise InputError(
            f"--endpoint must not contain a user, password or query; give a token ({TOKEN}, {TOKEN_FILE}) or cookies "
            f"({COOKIES}, {COOKIES_FILE})"
        )
    # People often copy the address of a page from the browser.
    return url.partition("/#")[0].removesuffix("/apis/v2beta1")


def _readable(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise InputError(f"cannot read {path} ({what}): {reason}") from None


def _credential(text: str, source: str) -> str:
    """Return a credential for a header. Refused here, because the HTTP library's error message would contain it."""
    value = text.strip()
    if not (value.isascii() and value.isprintable()):
        raise InputError(
            f"{source} is not a valid header value: it must be a token, or cookies as name=value; name=value, on one "
            "line of printable ASCII"
        )
    return value


def kfp_namespace() -> str:
    return os.environ.get(INSTALLED_IN, "kubeflow")


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _kubeconfigs() -> list[Path]:
    named = os.environ.get("KUBECONFIG")
    return [Path(name) for name in named.split(os.pathsep)] if named else [Path.home() / ".kube/config"]
