"""Training: the handwritten-digit scenes, augmentation and the training job."""
