"""mosec: a front in Rust and one worker process, which waits 2 ms for company; orjson in place of its default, json."""

import orjson
from mosec import Server, Worker

from harness.network import Network

REQUIREMENTS = ["mosec", "numpy", "orjson"]
START = ["-m", "services.mosec", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "error"]


class Service(Worker):
    def __init__(self):
        super().__init__()
        self.network = Network()

    def deserialize(self, data):
        return orjson.loads(data)

    def forward(self, rows):
        return self.network(rows).tolist()

    def serialize(self, data):
        return orjson.dumps(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Service, num=1, max_batch_size=64, max_wait_time=2, route="/predict")
    server.run()
