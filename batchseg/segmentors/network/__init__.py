"""What neural networks share: precision, uploads, compiling, confidence, upsampling."""
