"""Parts of the benchmarks of the optimizer step."""
