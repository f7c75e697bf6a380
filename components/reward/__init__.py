"""Scoring of completions: graders in killable worker processes."""
