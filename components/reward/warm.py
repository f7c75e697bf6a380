"""The libraries of a reward worker; those of its graders are imported by the grading processes."""

import components.reward.stage  # noqa: F401
