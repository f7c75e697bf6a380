"""Parts of `benchmarks/algorithms.py`: what algorithms learn, how fast, and how that is shown."""
