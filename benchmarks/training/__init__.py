"""Parts of the benchmarks of the training step."""
