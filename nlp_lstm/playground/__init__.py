"""A page to play with the models on, and the server behind it, which speaks TensorFlow Serving's REST protocol."""
