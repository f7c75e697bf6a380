"""Publish stage: register the last policy with MLflow, move the champion, write the report."""
