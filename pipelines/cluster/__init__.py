"""Runs on a cluster: its settings, the pipeline's tasks on it, and Kubeflow Pipelines' API."""
