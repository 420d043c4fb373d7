"""A model to tune: texts become vectors, in a small network of four layers. What comes of it is in ../tuning.md.

Run it, in examples/tuning: python -m asyncbatch tune model:embed --items ../../README.md --rate 2000 --objective 50ms

It needs `pip install asyncbatch[tune]`.
"""

import zlib

import numpy as np

WIDTH = 1024
dice = np.random.default_rng(0)
LAYERS = [dice.standard_normal((WIDTH, WIDTH), np.float32) / np.float32(WIDTH**0.5) for _ in range(4)]


def features(text: str) -> np.ndarray:
    counts = np.zeros(WIDTH, np.float32)
    for word in text.lower().split():
        counts[zlib.crc32(word.encode()) % WIDTH] += 1
    return counts


def embed(texts: list[str]) -> np.ndarray:
    vectors = np.stack([features(text) for text in texts])
    for layer in LAYERS:
        vectors = np.maximum(vectors @ layer, 0)
    return vectors
