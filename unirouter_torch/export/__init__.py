"""Routers in formats that run without this package: ONNX, torch.export, sentence-transformers."""
