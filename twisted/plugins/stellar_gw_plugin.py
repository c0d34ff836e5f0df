"""What twistd and trial find of stellar-gw; nothing heavy is imported here."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

gateway = ServiceMaker("stellar-gw", "stellar_gw.tap", "A telephony gateway to AI voice agents.", "stellar-gw")
uvloop = Reactor("stellar-uvloop", "stellar_gw.worker.uvloop_reactor", "asyncio on uvloop, as in a media worker.")
