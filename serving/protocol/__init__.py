"""TF Serving's words, without TensorFlow: status codes, messages, metrics."""
