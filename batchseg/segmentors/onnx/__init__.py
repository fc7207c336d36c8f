"""ONNX networks, computed by ONNX Runtime."""
