"""uv looks for packages where pip does."""

import importlib.util
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "requirements/uv.py"
BEST_MATCH = {"UV_INDEX_STRATEGY": "unsafe-best-match"}


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    spec = importlib.util.spec_from_file_location("requirements_uv", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sources


def test_without_any_configuration_torch_comes_from_pytorchs_cpu_index(sources):
    assert sources() == BEST_MATCH | {"UV_TORCH_BACKEND": "cpu"}


def test_pips_variables_become_uvs(sources, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example/simple https://two.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more-wheels")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "mirror.example")
    monkeypatch.setenv("PIP_CERT", "/certificates.pem")
    assert sources() == BEST_MATCH | {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_FIND_LINKS": "/wheels,/more-wheels",
        "UV_INSECURE_HOST": "mirror.example",
        "SSL_CERT_FILE": "/certificates.pem",
    }


def test_a_variable_takes_precedence_over_pips_configuration_file(sources, monkeypatch, tmp_path):
    configuration = tmp_path / "pip.conf"
    configuration.write_text("[global]\nfind-links = /file\nextra-index-url = https://file.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_FIND_LINKS", "/variable")
    found = sources()
    assert (found["UV_FIND_LINKS"], found["UV_INDEX"]) == ("/variable", "https://file.example/simple")
