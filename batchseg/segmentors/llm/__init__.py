"""The LLM segmentor: a language model between convolutional features and their decoder."""
