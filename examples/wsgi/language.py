"""The model of the Flask and the Django example: it tells the language of a text by its short words."""

import os

from asyncbatch import Fifo, sync

WORDS = {
    "de": set("der die das und ist nicht ein eine ich es mit zu auf für".split()),
    "en": set("the and is not a an i it with to on for of in".split()),
    "fr": set("le la les et est pas un une je il avec à sur pour de".split()),
}


def languages(texts: list[str]) -> list[dict[str, object]]:
    """Return the language of each text, and for the curious which process told, and how many texts it had at once."""
    return [{"language": language(text), "process": os.getpid(), "together": len(texts)} for text in texts]


def language(text: str) -> str:
    words = text.lower().split()
    return max(WORDS, key=lambda name: sum(word in WORDS[name] for word in words))


# Made where the server imports it, which may be before it forks its workers: a batcher starts in each process with the first
# call there. All threads of a process share it. No wait for company: while one batch runs, the next one fills.
batcher = sync.Batcher(languages, max_batch_size=64, queue=Fifo(256, when_full="reject"))
