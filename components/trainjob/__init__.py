"""The train stage on several nodes: launched as a Kubeflow Trainer job, followed to its end.

Not a stage of its own but another way to start one, so it imports `components.train`: of that only what looks at the
store. The kubeflow SDK and the Kubernetes client are imported here alone.
"""
