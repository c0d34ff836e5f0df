"""A listener in a process that may open 64 descriptors, with more connections than that: run by test_net_sockets.

Prints the share of one processor used while full, and ``served`` if a connection is served once there is room.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from typing import Any

from stellar_gw.config import ListenerConfig
from stellar_gw.net.flows import Flows
from stellar_gw.net.listen import listen
from stellar_gw.net.stream import StreamLimits

FULL_FOR = 2.0

_CROWD = """
import socket, sys
socks = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(200)]
print("there", flush=True)
sys.stdin.read()
"""


def main() -> None:
    from twisted.internet import reactor as installed

    from tests.integration.test_net_sockets import Echo, message

    reactor: Any = installed
    owner = Echo()
    flows = Flows(reactor, limits=StreamLimits(setup=60.0))
    flows.owner = owner
    owner.flows = flows
    config = ListenerConfig(
        name="tcp",
        transport="tcp",
        bind=("127.0.0.1", 0),
        advertise=("127.0.0.1", 0),
        media_advertise="127.0.0.1",
    )
    listening = listen(reactor, flows, [config])
    port = listening.listeners["tcp"].bind[1]
    crowd = subprocess.Popen(
        [sys.executable, "-c", _CROWD, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
    )

    # After the crowd has started, which would inherit it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    def settle() -> None:
        used = time.process_time()
        reactor.callLater(FULL_FOR, leave, used)

    def leave(used: float) -> None:
        share = (time.process_time() - used) / FULL_FOR
        crowd.kill()
        crowd.wait()
        assert crowd.stdin is not None and crowd.stdout is not None
        crowd.stdin.close()
        crowd.stdout.close()
        reactor.callLater(1.0, serve, share)

    def serve(share: float) -> None:
        peer = socket.create_connection(("127.0.0.1", port))
        peer.sendall(message("after"))
        owner.when(lambda: bool(owner.received_)).addCallback(lambda _: finish(share))

    def finish(share: float) -> None:
        print(f"{share:.3f} served", flush=True)
        os._exit(0)

    reactor.callLater(1.0, settle)
    reactor.callLater(20.0, os._exit, 1)
    reactor.run()


if __name__ == "__main__":
    main()
