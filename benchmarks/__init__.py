"""Benchmarks, each of them a command."""
