"""The train stage on several nodes: launched as a Kubeflow Trainer job, followed to its end.

Another way to start the train stage and not a stage of its own, so it imports the parts of `components.train` that need
no torch. The kubeflow SDK and the Kubernetes client are imported here alone.
"""
