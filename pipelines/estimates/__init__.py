"""Estimates of a run's work, memory and storage, from its configuration and its model's config.json.

Token counts are counts, sizes are bytes.
"""
