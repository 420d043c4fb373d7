"""BentoML: one worker of one service with an adaptively batched endpoint, which takes a batch and so is sent batches of one.

Its `max_latency_ms` is no wait but a bound: what it expects to take longer it refuses. A second is what its guide has.
"""

import bentoml
import numpy as np

from harness.network import Network

REQUIREMENTS = ["bentoml", "numpy"]
START = ["-m", "bentoml", "serve", "services.bentoml:Service", "--host", "127.0.0.1", "--port", "{port}"]
ENVIRON = {"BENTOML_DO_NOT_TRACK": "true"}
BODY = '{"rows": [%s]}'


@bentoml.service(workers=1)
class Service:
    def __init__(self):
        self.network = Network()

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=64, max_latency_ms=1000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.network(rows)
