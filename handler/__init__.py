"""Serve classic machine-learning models, serverless, to on-chain and off-chain callers."""

__version__ = "0.1.0"
