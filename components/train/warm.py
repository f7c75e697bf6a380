"""The libraries of a train worker."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the stage sets it, before PyTorch reads it
import transformers.models.auto.modeling_auto  # noqa: F401

import components.train.iteration  # noqa: F401
