"""The built-in graders.

A grader is a function `f(*, prompt, completion, answer, metadata, **options) -> float`. Imported only inside
grading processes, so these modules import nothing beyond what grading needs.
"""
