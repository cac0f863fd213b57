"""From files to samples. No torch here: all of it runs before a model is loaded."""
