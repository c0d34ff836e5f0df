"""A configuration for tests: one provider, two tenants."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from stellar_gw.config import Config, parse_config
from stellar_gw.testing.certificates import Authority

CONFIGURATION = """\
domain: sip.acme.example
listeners:
  udp: {bind: "203.0.113.10:5060", media_advertise: 203.0.113.11}
  tls: {bind: "203.0.113.10:5061", certificate: tls.pem}
  tcp: {bind: "203.0.113.10:5060"}
limits: {call_duration: 2h}
trunk_providers:
  telnyx: {allowed_ips: [192.76.120.10, 198.51.100.0/24], tenants: [acme]}
  teams: {allowed_ips: [52.112.0.0/14], tenants: [acme], require_tls: true}
tenants:
  acme:
    credentials:
      freepbx-hq: {password: "correct horse", require_tls: false}
      secure-hq: {password: "battery staple", require_tls: true}
      office-hq: {password: "battery staple", allowed_ips: [203.0.113.20]}
    agents:
      reception:
        languages: [nl, en]
        versions: {published: 7, draft: 8}
        environments:
          production: {dialect: twilio, url: "ws://127.0.0.1:7860/ws", variables: {company: Acme}}
    connectors:
      front-desk: {type: sip, identifier: "123456789", agent: reception, environment: production, version: published}
      main-line: {type: phone, number: "+31201230000", provider: telnyx, agent: reception, environment: production}
      teams-line: {type: phone, number: "+31201239999", provider: teams, agent: reception, environment: production}
      closed: {type: sip, identifier: "555", agent: reception, environment: production, enabled: false}
      echo: {type: sip, identifier: "600", agent: "builtin:echo"}
  globex:
    credentials:
      globex-pbx: {password: "entirely other"}
    connectors:
      theirs: {type: sip, identifier: "700", agent: "builtin:echo"}
"""


@cache
def certificate() -> str:
    """The path of a PEM file with a certificate and its key, made once a process."""
    folder = Path(mkdtemp(prefix="stellar-gw-tests-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    return str(Authority.create().write(folder, "sip.acme.example", "127.0.0.1")[0])


@cache
def configuration(text: str = CONFIGURATION) -> Config:
    """The configuration above, or another text; ``tls.pem`` in it is a certificate that can be used.

    Nothing in it can be changed, so that whoever asks for the same text may have the same one: reading it is most of
    what a story costs.
    """
    return parse_config(text.replace("tls.pem", certificate()), "conf.yaml", {})
