"""The reactor of the media workers: Twisted's asyncio reactor on a uvloop loop.

Also offered to ``trial --reactor=stellar-uvloop``, so that the suite can run on the workers' loop.
"""

from __future__ import annotations

import asyncio

import uvloop
from twisted.internet import asyncioreactor


def install() -> asyncio.AbstractEventLoop:
    """Install the reactor, before anything imports ``twisted.internet.reactor``; return its loop."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    return loop
