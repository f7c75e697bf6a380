"""What stages ask for where the cluster's settings do not say."""

from typing import Any, Literal

from components.contract.section import StageName

Device = Literal["gpu", "cpu"]

PRESETS: dict[Device, dict[StageName, dict[str, Any]]] = {
    # For models of 0.5 to 1.5 billion parameters on one GPU: rollout and train take turns on it.
    "gpu": {
        "prepare": {"cpu": "2", "memory": "8Gi", "scratch": "20Gi", "timeout_minutes": 120},
        "rollout": {
            "cpu": "8",
            "memory": "32Gi",
            "accelerators": 1,
            "shared_memory": "8Gi",
            "scratch": "30Gi",
            "timeout_minutes": 720,
        },
        "reward": {"cpu": "8", "memory": "16Gi", "scratch": "10Gi", "timeout_minutes": 360},
        "train": {
            "cpu": "8",
            "memory": "48Gi",
            "accelerators": 1,
            "shared_memory": "8Gi",
            "scratch": "60Gi",
            "timeout_minutes": 720,
        },
        "publish": {"cpu": "2", "memory": "8Gi", "scratch": "10Gi", "timeout_minutes": 60},
    },
    # For tiny policies on a laptop's cluster (kind, minikube).
    "cpu": {
        "prepare": {"cpu": "1", "memory": "2Gi", "scratch": "5Gi", "timeout_minutes": 60},
        "rollout": {"cpu": "2", "memory": "6Gi", "shared_memory": "1Gi", "scratch": "5Gi", "timeout_minutes": 240},
        "reward": {"cpu": "2", "memory": "2Gi", "scratch": "2Gi", "timeout_minutes": 240},
        "train": {"cpu": "2", "memory": "4Gi", "shared_memory": "1Gi", "scratch": "5Gi", "timeout_minutes": 240},
        "publish": {"cpu": "1", "memory": "2Gi", "scratch": "2Gi", "timeout_minutes": 60},
    },
}
