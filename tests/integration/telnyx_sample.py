"""What Telnyx sends, after a trace: compact names, no space behind colons, three Record-Routes, over 1,400 octets."""

from __future__ import annotations

_BODY = """\
v=0
o=FreeSWITCH 1795870000 1795870001 IN IP4 192.0.2.170
s=FreeSWITCH
c=IN IP4 192.0.2.170
t=0 0
m=audio 20734 RTP/AVP 9 107 0 8 101 103
a=rtpmap:9 G722/8000
a=rtpmap:107 opus/48000/2
a=fmtp:107 useinbandfec=1; maxaveragebitrate=30000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=rtpmap:103 telephone-event/48000
a=fmtp:103 0-15
a=ptime:20
"""
_HEAD = """\
INVITE sip:+12025550143@203.0.113.10:5060 SIP/2.0
Record-Route:<sip:192.0.2.160;r2=on;lr;ftag=5Hc4XgQ1m2NSr>
Record-Route:<sip:10.13.37.12;r2=on;lr;ftag=5Hc4XgQ1m2NSr>
Record-Route:<sip:10.13.37.4;lr;ftag=5Hc4XgQ1m2NSr>
v:SIP/2.0/UDP 192.0.2.160:5060;branch=z9hG4bK9d41.5b7c3d19.0
Via:SIP/2.0/UDP 10.13.37.21:6000;received=10.13.37.21;rport=6000;branch=z9hG4bKXpF0a7tcy2Dgj
Max-Forwards:64
f:"+12025550117" <sip:+12025550117@192.0.2.160;user=phone>;tag=5Hc4XgQ1m2NSr
t:<sip:+12025550143@10.13.37.4>
i:6f0b2c1a-9d3e-123f-9a8b-02420a0d2515
CSeq:104213977 INVITE
m:<sip:mod_sofia@10.13.37.21:6000>
User-Agent:Telnyx SIP Proxy
Allow:INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY
k:path, replaces
X-Telnyx-Session-ID:6efb4a58-9d3e-11ef-a1d1-02420a0d2568
X-Telnyx-Leg-ID:6efb4d1e-9d3e-11ef-8c9d-02420a0d2568
X-Telnyx-Connection-ID:1494404757140276705
P-Asserted-Identity:"+12025550117" <sip:+12025550117@192.0.2.160;verstat=TN-Validation-Passed-A>
c:application/sdp
l:{length}

"""


def telnyx() -> bytes:
    body = _BODY.replace("\n", "\r\n")
    return _HEAD.replace("{length}", str(len(body))).replace("\n", "\r\n").encode() + body.encode()
