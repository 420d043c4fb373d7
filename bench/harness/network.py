"""The model of the services: a network of three layers, 128-1024-1024-16, with the same weights in every process."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

LAYERS = (128, 1024, 1024, 16)


class Network:
    def __init__(self) -> None:
        numbers = np.random.default_rng(0)
        shapes = zip(LAYERS, LAYERS[1:], strict=False)
        self.weights = [numbers.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5) for shape in shapes]

    def __call__(self, rows: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """Return a row of 16 numbers for each of 128."""
        values = np.asarray(rows, np.float32)
        for weights in self.weights[:-1]:
            values = values @ weights
            np.maximum(values, 0, out=values)
        return values @ self.weights[-1]


def main() -> None:
    """Print what is asked of a service, and what is right."""
    rows = np.random.default_rng(1).standard_normal((16, LAYERS[0])).round(4).tolist()
    print(json.dumps({"rows": rows, "answers": Network()(rows).tolist()}))


if __name__ == "__main__":
    main()
