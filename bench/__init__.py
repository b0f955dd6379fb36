"""Benchmarks: each figure of ours beside its baseline, measured in the same run."""
