"""A server that speaks the KFP v2beta1 API, for the client to be tested over real HTTP.

- `description`: what the API's OpenAPI description says, as the client generated from it (kfp-server-api) holds it;
- `cluster`: the state, and the semantics that bite, each with the file of kubeflow/pipelines it was read from;
- `cron`: schedules as KFP's parser takes them;
- `server`: HTTP, authentication, faults.
"""

from tests.support.kfp_server.cluster import Cluster
from tests.support.kfp_server.server import KfpServer, kfp_server

__all__ = ["Cluster", "KfpServer", "kfp_server"]
