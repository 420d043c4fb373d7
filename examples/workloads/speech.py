"""Speech: spoken commands, of which a small recurrent network hears the keyword, one by one and in batches of like lengths.

    pip install asyncbatch torch
    apt-get install espeak-ng
    python examples/workloads/speech.py            a minute; --help says what can be set

espeak-ng speaks the commands, in voices of which some teach the network when the program starts, and the others are the
callers'. Noise is added. What a caller sends are log-mel features, with 100 rows a second; `Padded` makes one array of
a batch of them, and `ByLength` lets those go together that are about as long.
"""

import io
import random
import shutil
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice, product

import numpy as np
import torch
from comparison import arguments, closed_loop, closing, curve, in_words, measured, one_by_one, table, write

from asyncbatch import Batcher, ByLength, Padded

KEYWORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
PHRASES = ["{}", "{} please", "now {}", "I would say {}", "could you go ahead and make it {} for me"]
TAUGHT = ["en-us", "en-gb", "en-us+f2", "en-gb+m3", "en-us+m7", "en-gb+f4", "en-gb-scotland", "en-gb-x-rp+f1"]
HEARD = ["en-us+m4", "en-gb+f3", "en-gb-x-rp", "en-us+f5"]
SPEEDS = [130, 160, 190, 220]  # words a minute

RATE, FRAME, HOP, BANDS = 11_025, 276, 110, 40  # samples a second, in a frame, and from one to the next


# Recordings, and what the network is given of them.


def speak(text: str, voice: str, speed: int, seed: int) -> np.ndarray:
    """Return the samples of the spoken text, and noise."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", text]
    sound = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(sound)) as it:
        samples = np.frombuffer(it.readframes(it.getnframes()), np.int16)
    samples = samples[: len(samples) // 2 * 2].reshape(-1, 2).mean(axis=1)  # it speaks at twice the RATE
    return samples + np.random.default_rng(seed).normal(0, 0.1 * samples.std(), len(samples))


def mel_filters() -> np.ndarray:
    """Return one column for each band: triangles that are equally wide and far apart on the mel scale."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(512, 1 / RATE)[:, None]
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


FILTERS = mel_filters()


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Return a row of BANDS for each 10 ms, of mean 0 and variance 1 over the recording."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * np.hanning(FRAME)
    features = np.log(np.square(np.abs(np.fft.rfft(frames, 512))) @ FILTERS + 1)
    return ((features - features.mean()) / features.std()).astype(np.float32)


def recordings(voices: list[str], count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return features of so many commands and which keyword is in each, the same ones each time."""
    spoken = list(product(PHRASES, KEYWORDS, voices, SPEEDS))
    random.Random(0).shuffle(spoken)
    spoken = [spoken[n % len(spoken)] for n in range(count)]

    def features(seed: int) -> np.ndarray:
        phrase, keyword, voice, speed = spoken[seed]
        return log_mel(speak(phrase.format(keyword), voice, speed, seed))

    with ThreadPoolExecutor(4) as pool:  # they only wait for espeak-ng
        return list(pool.map(features, range(count))), np.array([KEYWORDS.index(keyword) for _, keyword, *_ in spoken])


# The model.


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.GRU(BANDS, 64, batch_first=True)
        self.words = torch.nn.Linear(64, len(KEYWORDS))

    def forward(self, sounds: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return a score for each keyword: where it was heard most clearly, which is nowhere in the padding."""
        heard, _ = self.memory(sounds)
        return self.words(heard).masked_fill(~mask[..., None], -torch.inf).amax(dim=1)


def taught(sounds: list[np.ndarray], keywords: np.ndarray, rounds: int) -> Network:
    """Return a network that has seen each recording so many times, in batches of like lengths."""
    torch.manual_seed(0)
    network = Network()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.004)

    def learn(sounds: np.ndarray, mask: np.ndarray) -> list[None]:
        scores = network(torch.from_numpy(sounds), torch.from_numpy(mask))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(keywords[lesson])).backward()
        optimiser.step()
        return [None] * len(sounds)

    order = np.argsort([len(sound) for sound in sounds])
    lessons = [order[start : start + 16] for start in range(0, len(order), 16)]
    dice = random.Random(0)
    for _ in range(rounds):
        for lesson in dice.sample(lessons, len(lessons)):
            Padded(learn)([sounds[place] for place in lesson])
    return network


def main(options) -> None:
    torch.set_num_threads(1)  # busy seconds are those of one core, then
    network = taught(*recordings(TAUGHT, options.taught), options.rounds)
    sounds, keywords = recordings(HEARD, options.heard)
    sent = list(islice(cycle(sounds), options.requests))
    truth = np.resize(keywords, options.requests)

    @torch.inference_mode()
    def hear(sounds: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(sounds), torch.from_numpy(mask)).argmax(dim=1).numpy()

    def quality(answers: list) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.array(answers) == truth))}

    model, usual = Padded(hear), sorted(sounds, key=len)[len(sounds) // 2]
    cost = curve(model, usual)
    callers = partial(closed_loop, callers=options.callers)
    answered = partial(
        measured, function=model, items=sent, load=callers, price_per_hour=options.price_per_hour, quality=quality
    )
    batches = partial(Batcher, max_batch_size=options.max_batch_size)
    alike = partial(batches, cost=len, queue=ByLength())
    rows = [answered("One by one", one_by_one), answered("In batches", batches), answered("In batches by length", alike)]

    print(table(rows), closing(rows[0], rows[-1]), sep="\n\n", end="\n\n")
    print(in_words(f"recordings of {len(usual) / 100:.2f} s", cost))
    write(options, workload="speech", rows=rows, curves={"recordings": cost})


if __name__ == "__main__":
    if not shutil.which("espeak-ng"):
        sys.exit("this example needs espeak-ng, to speak: apt-get install espeak-ng")
    defaults = {"taught": 480, "rounds": 12, "heard": 400, "requests": 2000, "callers": 64, "max_batch_size": 32}
    main(arguments(__doc__, **defaults).parse_args())
