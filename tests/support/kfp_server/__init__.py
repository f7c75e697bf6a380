"""A server with the KFP v2beta1 API, for tests of the client over real HTTP.

- `description`: the API's OpenAPI description, read from the client that was generated from it (kfp-server-api);
- `cluster`: the state, and the semantics that matter, each with the file of kubeflow/pipelines it was read from;
- `driver`: what a task's arguments become;
- `cron`: schedules as KFP parses them;
- `server`: HTTP, authentication, faults.
"""

from tests.support.kfp_server.cluster import Cluster
from tests.support.kfp_server.server import KfpServer, kfp_server

__all__ = ["Cluster", "KfpServer", "kfp_server"]
