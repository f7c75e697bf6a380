"""Runs that are killed, cut off from their storage, or left without disk or memory, beside the same runs left alone."""
