"""The contract between stages: schemas, run layout, manifests, configuration.

It imports neither torch, vllm nor kfp, so that every image and every laptop can install it.
"""
