"""Ways to train a model, one file each: what is added to it, or which of its weights move."""
