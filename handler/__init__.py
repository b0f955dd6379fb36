"""Serve classic machine-learning models, serverless, to on-chain and off-chain callers."""

import time

__version__ = "0.1.0"
import_began = time.perf_counter()
