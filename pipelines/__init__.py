"""The KFP pipeline, the local runner, submission to clusters, and the `rapid` command."""
