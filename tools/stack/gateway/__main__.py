"""Runs the gateway: `python -m tools.stack.gateway --port P --upstream-port P --state DIR`.

The root credentials come from `POLARIS_BOOTSTRAP_CREDENTIALS=REALM,id,secret`, as for a Polaris server.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from tools.stack.gateway.server import LOOPBACK, GatewayServer
from tools.stack.gateway.service import Gateway, Settings
from tools.stack.gateway.upstream import Upstream


def main() -> int:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="gateway")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream-port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--token-seconds", type=float, default=3600.0)
    parser.add_argument("--extra-realm", action="append", default=[], help="a further, empty realm")
    options = parser.parse_args()
    realm, client_id, secret = os.environ["POLARIS_BOOTSTRAP_CREDENTIALS"].split(",", 2)
    settings = Settings((realm, *options.extra_realm), token_seconds=options.token_seconds, state=options.state)
    options.state.mkdir(parents=True, exist_ok=True)
    gateway = Gateway(settings, Upstream(LOOPBACK, options.upstream_port))
    gateway.bootstrap(realm, client_id, secret)
    server = GatewayServer(options.port, gateway)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
