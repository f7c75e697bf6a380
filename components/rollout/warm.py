"""The libraries of a rollout worker."""

import components.rollout.stage  # noqa: F401
from components.rollout.engine import configure_import

configure_import()
import vllm.v1.engine.llm_engine  # noqa: E402, F401
