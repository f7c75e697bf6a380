"""The built-in graders.

A grader is a function `f(*, prompt, completion, answer, metadata, **options) -> float`, or one of several completions
at once, `f(*, prompts, completions, answers, metadata, **options) -> list of floats or exceptions`. Imported only
inside grading processes, so these modules import nothing beyond what grading needs.
"""
