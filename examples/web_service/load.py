"""Something to do for the web service: callers that each ask one query after the other, in waves.

Run it, while the service runs: python examples/web_service/load.py

It prints how many answers had which status, and how long they took. It has an HTTP client of a few lines, as a complete one
would keep a core busier than the service does.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from urllib.parse import quote_plus

WORDS = """read write open close sort list file path date time string number random choose copy move delete temporary parse
    encode decode compress thread process wait queue lock socket http url json csv table mean median root power divide match
    pattern replace split join iterate group count cache memory object class function decorate context warn log""".split()

Answers = list[tuple[int, float]]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, query: str) -> tuple[int, bool]:
    """Return the status of the answer, and whether the service closes the connection after it."""
    writer.write(f"GET /search?q={quote_plus(query)} HTTP/1.1\r\nHost: service\r\nX-Timeout: 2\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
    return int(head.split()[1]), "\r\nconnection: close" in head


async def caller(options: argparse.Namespace, end: float, answers: Answers) -> None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", options.port)
    except ConnectionRefusedError:
        return  # nothing runs there, or no longer
    closes = False
    while not closes and (began := time.monotonic()) < end:
        status, closes = await ask(reader, writer, " ".join(random.sample(WORDS, 4)))
        answers.append((status, time.monotonic() - began))
        await asyncio.sleep(random.expovariate(1 / options.pause))
    writer.close()


async def main(options: argparse.Namespace) -> None:
    answers: Answers = []
    began = time.monotonic()
    for wave in range(options.waves):
        callers = options.callers * (wave % 4 + 1) // 4  # so that there is something to see
        end = time.monotonic() + options.seconds / options.waves
        async with asyncio.TaskGroup() as tg:
            for _ in range(callers):
                tg.create_task(caller(options, end, answers))
    if not answers:
        sys.exit(f"nothing answers on port {options.port}; first run python examples/web_service/service.py")
    rate = len(answers) / (time.monotonic() - began)
    took = sorted(seconds for _, seconds in answers)
    print(dict(Counter(status for status, _ in answers)), f"{rate:.0f} answers a second")
    print(f"half within {took[len(took) // 2]:.3f} s, 99 of 100 within {took[len(took) * 99 // 100]:.3f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Load for the web service.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--callers", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--waves", type=int, default=12)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two queries of a caller, on average")
    asyncio.run(main(parser.parse_args()))
