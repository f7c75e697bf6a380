"""Publish stage: register the policies with MLflow, move the champion, write the report."""
