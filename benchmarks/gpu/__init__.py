"""The Trainer's recipe on an accelerator, measured with Keras alone: TensorFlow or JAX."""
