"""What the stages agree on: schemas, run layout, manifests, configuration.

Imports neither torch, vllm nor kfp, so that every image and every laptop can hold it.
"""
