import subprocess
import sys

WEIGHTY = ("torch", "transformers", "vllm", "mlflow")


def test_the_launcher_imports_nothing_that_its_image_does_not_have() -> None:
    code = "import sys, components.trainjob.stage, components.trainjob.launcher as _; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(WEIGHTY) & set(done.stdout.split())
