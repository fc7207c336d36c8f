"""What a model's decision rests on: the parts of a picture, and its language branch."""
