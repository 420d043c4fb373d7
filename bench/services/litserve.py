"""LitServe: one process for HTTP and one worker, which are the fewest, and waits 2 ms for company.

`fast_queue` (ZeroMQ in place of a managed queue) is what it offers for high throughput.
"""

import sys

import litserve

from harness.network import Network

REQUIREMENTS = ["litserve", "numpy", "pyzmq"]
START = ["-m", "services.litserve", "{port}"]


class Service(litserve.LitAPI):
    def setup(self, device):
        self.network = Network()

    def batch(self, inputs):
        return inputs

    def predict(self, rows):
        return self.network(rows).tolist()

    def unbatch(self, output):
        return output


if __name__ == "__main__":
    service = Service(max_batch_size=64, batch_timeout=0.002)
    server = litserve.LitServer(service, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
