from __future__ import annotations

import numpy as np

from components.classifier import result


def test_confusion_counts_true_by_predicted():
    counts = result.confusion(np.array([0, 0, 2, 2]), np.array([0, 1, 2, 2]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [0, 0, 2]])
