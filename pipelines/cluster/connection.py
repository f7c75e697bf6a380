"""How Kubeflow Pipelines is reached, and who one is to it.

The generated client (kfp_server_api) is set up here instead of kfp.Client, which asks the server for its health while
it is made, five times with pauses, writes into ~/.config/kfp, knows no time-outs and prints links of its own. The ways
to authenticate are the same, and so are the names of KFP's environment variables.
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
"""The namespace that Kubeflow Pipelines itself runs in; `kubeflow` where it is not set."""

_SERVICE = "ml-pipeline"
_POD_TOKEN, _POD_TOKEN_VARIABLE = "/var/run/secrets/kubeflow/pipelines/token", "KF_PIPELINES_SA_TOKEN_PATH"
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_IAP = "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"
_IAP_APP = ("KF_PIPELINES_APP_OAUTH2_CLIENT_ID", "KF_PIPELINES_APP_OAUTH2_CLIENT_SECRET")


@dataclass(frozen=True)
class Connection:
    """What a person gave; everything else is found in the environment."""

    endpoint: str | None = None
    namespace: str | None = None
    """Of the user, where Kubeflow has several (multi-user)."""
    ca: Path | None = None
    token_file: Path | None = None
    cookies_file: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is any way to a cluster from here."""
        return bool(self.endpoint) or _in_cluster() or any(path.is_file() for path in _kubeconfigs())

    @property
    def options(self) -> str:
        """What has to be typed again with the next command, because it was given as options; with a blank before it."""
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
        """Where Kubeflow's pages are, without a slash at the end; None where that cannot be known."""
        url = os.environ.get(UI) or self.endpoint
        return url.rstrip("/") if url else None

    @property
    def pod_namespace(self) -> str | None:
        """The namespace of the pod that this runs in."""
        return _POD_NAMESPACE.read_text(encoding="ascii").strip() if _POD_NAMESPACE.is_file() else None

    def api(self) -> tuple["ApiClient", str]:
        """The client, and in a few words whom it speaks to and as whom, for messages.

        Raises:
            InputError: there is no way to a cluster, or a file that was named cannot be read.
        """
        import urllib3
        from kfp_server_api import ApiClient, Configuration

        config = Configuration()
        # Nothing is asked twice that may have been done the first time.
        config.retries = urllib3.Retry(connect=1, read=0, status=0, other=0, redirect=3)
        where = self._locate(config)
        if self.ca:
            _readable(self.ca, "--ca")
            config.ssl_ca_cert = str(self.ca)
        # Behind Kubernetes' own API, which takes the credentials for itself.
        who = "kubectl's credentials" if config.refresh_api_key_hook else self._authenticate(config)
        cookies = self._cookies()
        client = ApiClient(config, cookie=cookies)
        return client, f"{where} ({' and '.join(filter(None, [who, cookies and 'cookies'])) or 'no credentials'})"

    def _locate(self, config: "Configuration") -> str:
        if self.endpoint:
            config.host = _checked(self.endpoint)
            return config.host
        installed = installed_in()
        if _in_cluster():
            config.host = f"http://{_SERVICE}.{installed}.svc.cluster.local:8888"
            return config.host
        if not any(path.is_file() for path in _kubeconfigs()):
            raise InputError(
                f"no way to Kubeflow Pipelines: give --endpoint or set {ENDPOINT} (its web address), or set up kubectl"
            )
        server = _through_kubernetes(config)
        config.host = f"{server}/api/v1/namespaces/{installed}/services/{_SERVICE}:8888/proxy"
        return f"{_SERVICE} in {installed} behind {server}"

    def _authenticate(self, config: "Configuration") -> str:
        """Set the token, which is read again before each request where it lies in a file."""
        from kfp.client import ServiceAccountTokenVolumeCredentials, auth

        pod_token = Path(os.environ.get(_POD_TOKEN_VARIABLE) or _POD_TOKEN)
        file = self.token_file or (None if os.environ.get(TOKEN) else pod_token)
        if self.token_file:
            _readable(self.token_file, "--token-file")
        if file and file.is_file():
            config.refresh_api_key_hook = ServiceAccountTokenVolumeCredentials(str(file)).refresh_api_key_hook
            token, who = _credential(file.read_text(encoding="ascii"), str(file)), f"token from {file}"
        elif TOKEN in os.environ:
            token, who = _credential(os.environ[TOKEN], TOKEN), f"token from {TOKEN}"
        elif _IAP in os.environ:
            who = f"Google's identity-aware proxy, client of {_IAP}"
            try:
                # Asks in the browser the first time; the refresh token stays in ~/.config/kfp.
                token, _ = auth.get_auth_token(os.environ[_IAP], *(os.environ.get(name) for name in _IAP_APP))
            except Exception as error:  # whatever Google's libraries raise, of several kinds
                raise InputError(f"no token from {who}: {' '.join(str(error).split())}") from None
        else:
            return ""
        config.api_key["authorization"] = token
        config.api_key_prefix["authorization"] = "Bearer"
        return who

    def _cookies(self) -> str | None:
        if self.cookies_file:
            return _credential(_readable(self.cookies_file, "--cookies-file"), str(self.cookies_file))
        return _credential(os.environ[COOKIES], COOKIES) if COOKIES in os.environ else None


def _through_kubernetes(config: "Configuration") -> str:
    """Take over what kubectl is set up with; gives the address of the Kubernetes API.

    Into a configuration of its own first: the loader leaves a hook that puts everything back to what kubectl has before
    each request, the address among it.
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

    def refresh(current: "Configuration") -> None:
        if loaded.refresh_api_key_hook:
            loaded.refresh_api_key_hook(loaded)
        current.api_key.update(loaded.api_key)

    refresh(config)
    config.refresh_api_key_hook = refresh
    return str(loaded.host)


def _checked(endpoint: str) -> str:
    url = endpoint.rstrip("/")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets without an address in them, ports that are none
        whole = False
    if not whole:
        raise InputError(f"--endpoint {endpoint!r} is no web address; write https://kubeflow.example.com/pipeline")
    if "@" in parts.netloc or parts.query:
        raise InputError(
            f"--endpoint must not hold a user, a password or a query; give a token ({TOKEN}, {TOKEN_FILE}) or cookies "
            f"({COOKIES}, {COOKIES_FILE})"
        )
    # The address of the pages, copied from a browser, is often given for that of the server.
    return url.partition("/#")[0].removesuffix("/apis/v2beta1")


def _readable(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise InputError(f"cannot read {path} ({what}): {reason}") from None


def _credential(text: str, source: str) -> str:
    """What goes into a header. Others would show it in their message, where they refuse it."""
    value = text.strip()
    if not (value.isascii() and value.isprintable()):
        raise InputError(
            f"{source} is no header's value: a token, or cookies as name=value; name=value, is one line of plain "
            "characters"
        )
    return value


def installed_in() -> str:
    return os.environ.get(INSTALLED_IN, "kubeflow")


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ


def _kubeconfigs() -> list[Path]:
    named = os.environ.get("KUBECONFIG")
    return [Path(name) for name in named.split(os.pathsep)] if named else [Path.home() / ".kube/config"]
