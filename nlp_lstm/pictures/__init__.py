"""What a person sees: pictures and pages, without TensorFlow and Keras."""
