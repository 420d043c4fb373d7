"""Image recognition: handwritten digits, read by a support vector machine, one by one and in batches.

    pip install asyncbatch scikit-learn
    python examples/workloads/digits.py            a few seconds; --help says what can be set

The images are the 1,797 of scikit-learn: half of them teach the model, and the callers send the others, again and again.
"""

from functools import partial
from itertools import cycle, islice

import numpy as np
from comparison import arguments, closed_loop, closing, curve, in_words, measured, one_by_one, table, write
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from asyncbatch import Batcher


def main(options) -> None:
    images, digits = load_digits(return_X_y=True)
    half = len(images) // 2
    model = SVC(gamma=0.001).fit(images[:half], digits[:half])

    def read(batch: list[np.ndarray]) -> np.ndarray:
        return model.predict(np.array(batch))

    sent = list(islice(cycle(images[half:]), options.requests))
    truth = np.resize(digits[half:], options.requests)

    def quality(answers: list) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.array(answers) == truth))}

    cost = curve(read, images[half])
    callers = partial(closed_loop, callers=options.callers)
    answered = partial(
        measured, function=read, items=sent, load=callers, price_per_hour=options.price_per_hour, quality=quality
    )
    batches = partial(Batcher, max_batch_size=options.max_batch_size)
    rows = [answered("One by one", one_by_one), answered("In batches", batches)]

    print(table(rows), closing(*rows), in_words("images", cost), sep="\n\n")
    write(options, workload="image recognition", rows=rows, curves={"images": cost})


if __name__ == "__main__":
    main(arguments(__doc__, requests=5000, callers=64, max_batch_size=32).parse_args())
