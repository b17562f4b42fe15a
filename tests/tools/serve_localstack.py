"""Serves some of LocalStack's services on the loopback: serve_localstack.py PORT STATE_DIR sns,sqs. Stays in the
foreground.

LocalStack is configured by its environment, which must stand before it is imported
(https://docs.localstack.cloud/references/configuration/).
"""

import os
import sys

port, state, services = sys.argv[1:4]
os.makedirs(state, exist_ok=True)
os.environ.update(
    SERVICES=services,
    EAGER_SERVICE_LOADING="1",
    STRICT_SERVICE_LOADING="1",
    GATEWAY_LISTEN=f"127.0.0.1:{port}",
    LOCALSTACK_HOST=f"localhost:{port}",
    DNS_ADDRESS="0",
    SKIP_SSL_CERT_DOWNLOAD="1",
    DISABLE_EVENTS="1",
    FILESYSTEM_ROOT=state,
    LOCALSTACK_VOLUME_DIR=state,
    PERSISTENCE="0",
    DOCKER_SOCK="/nonexistent",
    DOCKER_CMD="/bin/false",
    PYTHONDONTWRITEBYTECODE="1",
)

from twisted.internet import endpoints  # noqa: E402

tcp4 = endpoints.TCP4ServerEndpoint


def loopback_only(reactor, port, **options):
    # LocalStack's server takes only the port of GATEWAY_LISTEN and would bind every interface.
    options.setdefault("interface", "127.0.0.1")
    return tcp4(reactor, port, **options)


endpoints.TCP4ServerEndpoint = loopback_only

from localstack.runtime.main import main  # noqa: E402

main()
