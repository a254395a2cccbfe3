"""The models of the apps, in `keras.ops` alone: they train on any Keras backend."""
