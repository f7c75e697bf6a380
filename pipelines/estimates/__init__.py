"""What a run takes, worked out from its configuration and its model's config.json: formulas that start nothing.

Token counts are counts, sizes are bytes.
"""
