"""The prepare stage killed after each of its writes, and started again."""

import os
import subprocess
import sys
import textwrap

import pytest

from components.contract.layout import MANIFEST
from components.prepare.stage import run_stage as prepare
from components.store import open_run

# Forked children share the loaded libraries, so that a kill after every single write takes seconds.
SCRIPT = textwrap.dedent("""
    import os, signal, sys
    from components.contract.resolve import load_config
    from components.prepare.stage import run_stage
    from components.store.local import LocalStore
    import components.prepare.prompt_tables
    import transformers
    transformers.AutoTokenizer

    def stop_at(limit):
        done = 0
        for name in ("write", "create", "upload"):
            def replaced(self, *args, original=getattr(LocalStore, name)):
                nonlocal done
                if done == limit:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
                original(self, *args)
            setattr(LocalStore, name, replaced)

    for limit in range(100):
        pid = os.fork()
        if not pid:
            stop_at(limit)
            run_stage(load_config(sys.argv[1], [f"store={sys.argv[2]}/{limit}"]))
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status):
            print(limit, os.WEXITSTATUS(status))
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
""")


def contents(uri: str) -> dict[str, bytes]:
    """Every file of a run but its manifests, whose times differ, and its configuration, which names the store."""
    run = open_run(uri)
    keys = [info.key for info in run.store.list(run.layout.root)]
    return {key: run.store.read(key) for key in keys if not key.endswith((MANIFEST, run.layout.config))}


def committed(uri: str) -> list[tuple[str, dict]]:
    run = open_run(uri)
    manifests = [run.directory(key).require() for key in (run.layout.policy(0), run.layout.prompts)]
    return [(manifest.digest, manifest.facts) for manifest in manifests]


@pytest.mark.slow
def test_killed_before_any_write_and_started_again(config, tmp_path):
    (tmp_path / "config.yaml").write_text(config().model_dump_json())
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "config.yaml"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    writes, status = map(int, done.stdout.split())
    assert status == 0
    uninterrupted = f"file://{tmp_path}/{writes}/runs/example"
    # Two of the probe, 5 files of the policy, the configuration, 2 tables and 2 manifests.
    assert writes == 12
    for limit in range(writes):
        uri = prepare(config(f"store={tmp_path}/{limit}")).run_uri
        assert contents(uri) == contents(uninterrupted), f"killed before write {limit}"
        assert committed(uri) == committed(uninterrupted)
