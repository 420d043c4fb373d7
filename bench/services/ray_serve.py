"""Ray Serve: `@serve.batch` in one replica, with the settings that its guide has for high throughput: HAProxy and gRPC.

It waits 2 ms for company. The replica admits as many requests as the load has connections, or batches would not fill.
"""

import signal
import sys
import tempfile

import ray
from ray import serve

from harness.network import Network

REQUIREMENTS = ["numpy", "ray[serve]"]
START = ["-m", "services.ray_serve", "{port}"]
ENVIRON = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@serve.deployment(max_ongoing_requests=1024)
class Service:
    def __init__(self):
        self.network = Network()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def predict(self, rows):
        return self.network(rows).tolist()

    async def __call__(self, request):
        return await self.predict(await request.json())


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=tempfile.gettempdir())
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False})
    serve.run(Service.bind(), route_prefix="/predict")
    signal.sigwait([signal.SIGTERM])
    serve.shutdown()
