"""A call's context, as the tests of dialects and templates want it."""

from __future__ import annotations

from stellar_gw.control.messages import CallContext

CONTEXT = CallContext(
    call_id="c-7K3F2Q",
    tenant="acme",
    connector="main-line",
    agent="reception",
    environment="production",
    version="7",
    from_uri="sip:+31612345678@pbx.example",
    from_display='Jan "J" Müller',
    from_number="+31612345678",
    to_uri="sip:+31201230000@gw.example",
    to_number="+31201230000",
    contact="sip:jan@203.0.113.9:5060",
    user_agent="Asterisk PBX",
    accept_language="nl, en;q=0.5",
    language="nl",
    p_asserted_identity=("<sip:+31612345678@pbx.example>", "<tel:+31612345678>"),
    remote_party_id=("<sip:jan@pbx.example>;party=calling",),
    headers=(("X-Case-Id", "4711"), ("X-Tag", "a"), ("x-tag", "b"), ("X-Raw", "\udcff")),
    variables={"company": "Acme & Co", "agent": "not the agent", "x-tag": "ours"},
    codec="G722",
    tls=True,
)

PARAMETERS = {
    "from": "+31612345678",
    "from_number": "+31612345678",
    "from_uri": "sip:+31612345678@pbx.example",
    "from_display": 'Jan "J" Müller',
    "to": "+31201230000",
    "to_number": "+31201230000",
    "to_uri": "sip:+31201230000@gw.example",
    "contact": "sip:jan@203.0.113.9:5060",
    "call_id": "c-7K3F2Q",
    "tenant": "acme",
    "connector": "main-line",
    "agent": "reception",
    "environment": "production",
    "version": "7",
    "language": "nl",
    "accept_language": "nl, en;q=0.5",
    "user_agent": "Asterisk PBX",
    "p_asserted_identity": "<sip:+31612345678@pbx.example>, <tel:+31612345678>",
    "remote_party_id": "<sip:jan@pbx.example>;party=calling",
    "codec": "G722",
    "tls": "true",
    "srtp": "false",
    "company": "Acme & Co",
    "x-tag": "ours",
    "X-Case-Id": "4711",
    "X-Raw": "\ufffd",
}
"""What an agent is told of it, in this order."""
