"""What tests of several components ask for."""

import pytest


@pytest.fixture
def traced_steps(monkeypatch):
    """A list with an entry for every time that the training step of a Keras model is traced."""
    import keras

    traced = []
    train_step = keras.Model.train_step

    def counted(model, data):
        traced.append(model.name)
        return train_step(model, data)

    monkeypatch.setattr(keras.Model, "train_step", counted)
    return traced
