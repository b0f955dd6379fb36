"""Compiles a model to ONNX, and proves that it gives the same answers."""
