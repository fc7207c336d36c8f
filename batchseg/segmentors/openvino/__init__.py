"""OpenVINO: networks of torch and ONNX files, computed faster on CPUs."""
