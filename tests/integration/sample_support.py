"""A phone system made of one sample INVITE: says what the sample says, over the sample's transport, and talks."""

from __future__ import annotations

import re
import socket
import ssl
import time
from pathlib import Path

from attrs import define, frozen

from stellar_gw.media.codec import CODECS
from stellar_gw.media.rtp import RtpSender, parse_rtp
from stellar_gw.media.source import tone
from stellar_gw.media.srtp import Srtp, SrtpKey
from stellar_gw.sip.crypto import crypto_lines
from stellar_gw.sip.digest import choose_challenge, ha1, response_value
from stellar_gw.sip.message import Request, Response, response_to
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.sdp import MediaDescription, SessionDescription, parse_sdp

TONE = 440
_DOCUMENTED = re.compile(r"(?im)^(?:contact|m|record-route)[ \t]*:.*")
"""Headers that say where the gateway's own requests go: to the peer, and not to an address of a document."""
_ADDRESS = re.compile(r"(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+")
SECONDS = 1.2


@frozen(kw_only=True)
class Account:
    username: str
    password: str


@define
class Heard:
    """What came back of a tone: PCM, and packets that were not authentic."""

    pcm: bytes
    rate: int
    forged: int


class SamplePeer:
    """
    :param data: a sample: an INVITE, perhaps with an offer.
    :param address: an address of loopback that nobody else uses, whose port is the one of the sample's Via.
    :param answer: SDP of the ACK, where the INVITE has none.
    :param certificate: shown over TLS: a PEM file with its key.
    :ivar session: Session-Expires of our 200 to the INVITE; empty where there is none.
    :ivar origin: the o= line of our description, as it was told last.
    """

    def __init__(
        self,
        name: str,
        data: bytes,
        address: str,
        transport: str,
        gateway: tuple[str, int],
        ca: Path,
        answer: str,
        certificate: Path | None = None,
    ) -> None:
        self.name = name
        head, _, body = data.partition(b"\r\n\r\n")
        self._address, self._transport = address, transport
        self._media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._media.bind((address, 0))
        self._head, self._offer = (
            _DOCUMENTED.sub(lambda line: _ADDRESS.sub(address, line[0]), head.decode()),
            body.decode(),
        )
        self._answer, self._version = answer, 0
        self._codec = CODECS["PCMU"]
        self._via = re.search(r"(?im)^(?:via|v)\s*:\s*(SIP/2.0/\w+ ([\w.-]+:(\d+)))", self._head)
        assert self._via is not None
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        plain = socket.socket(socket.AF_INET, kind)
        # Without rport an answer goes to the port of Via (RFC 3261 18.2.2).
        plain.bind((address, int(self._via[3]) if transport == "udp" else 0))
        plain.connect(gateway)
        self._socket: socket.socket = plain
        if transport == "tls":
            context = ssl.create_default_context(cafile=str(ca))
            if certificate is not None:
                context.load_cert_chain(certificate)
            self._socket = context.wrap_socket(plain, server_hostname="sip.stellar.example")
        self._buffer = self._early = b""
        self._tag, self._target, self._sequence = "", "", self._number("cseq")
        self._requests: list[Request] = []
        self._described_last = self.session = self.origin = ""

    def close(self) -> None:
        self._socket.close()
        self._media.close()

    # --- SIP ------------------------------------------------------------------------------------

    def invite(self, account: Account | None = None) -> tuple[list[int], Response]:
        """Send the sample, its media address replaced; again with credentials, if they are asked for.

        :return: the provisional statuses, and the final response, which is acknowledged.
        """
        offer = self._described(self._offer) if self._offer else ""
        head = re.sub(r"(?im)^(?:content-length|l)\s*:[^\r\n]*", f"Content-Length: {len(offer)}", self._head)
        self._send(f"{head}\r\n\r\n{offer}")
        early, final = self._final()
        if final.status == 401 and account is not None:
            self._request("ACK", "", final=final)
            self._sequence += 1
            head = re.sub(r"(?im)^(cseq\s*:\s*)\d+", rf"\g<1>{self._sequence}", head)
            head = re.sub(r"branch=z9hG4bK", "branch=z9hG4bKagain", head, count=1)
            uri = head.split(" ")[1]
            self._send(f"{head}\r\nAuthorization: {_authorization(final, account, uri)}\r\n\r\n{offer}")
            early, final = self._final()
        self._tag = final.to.tag or ""
        self.session = final.headers.first("Session-Expires") or ""
        if final.status == 200:
            assert final.contact is not None
            self._target = str(final.contact.uri)
            self._agree((final.body or self._early).decode())
        self._request("ACK", self._described(self._answer) if final.status == 200 and not offer else "", final=final)
        return early, final

    def reinvite(self, direction: str) -> Response:
        """A new offer, its direction changed: ``sendonly``, ``inactive``, ``sendrecv`` or ``0.0.0.0``."""
        self._sequence += 1
        body = re.sub(r"a=(sendrecv|sendonly|recvonly|inactive)\r\n", "", self._described(self._offer or self._answer))
        if direction == "0.0.0.0":
            body = re.sub(r"c=IN IP4 [\d.]+", "c=IN IP4 0.0.0.0", body)
        else:
            body += f"a={direction}\r\n"
        self._described_last = body
        self._request("INVITE", body)
        _, final = self._final()
        self._request("ACK", "", final=final)
        return final

    def refresh(self) -> tuple[str, Response, bool]:
        """Refresh the session: by UPDATE where the sample's Allow has it, else by a re-INVITE with the same offer.

        :return: the method, the final response, and whether our description stayed the same.
        """
        self._sequence += 1
        extra = ("Supported: timer", f"Session-Expires: {self.session.partition(';')[0]};refresher=uac")
        if "UPDATE" in self._value("allow"):
            self._request("UPDATE", "", extra=extra)
            return "UPDATE", self._final()[1], True
        before = self.origin
        self._request("INVITE", self._described_last, extra=extra)
        final = self._final()[1]
        self._request("ACK", "", final=final)
        return "re-INVITE", final, self.origin == before

    def options(self) -> Response:
        """Ask whether the gateway is there, outside any dialog."""
        assert self._via is not None
        lines = [
            f"OPTIONS sip:{self._head.split(' ')[1].partition('@')[2].partition(';')[0]} SIP/2.0",
            f"Via: {self._via[1]};rport;branch=z9hG4bKoptions",
            f"From: {self._value('contact')};tag=ping",
            "To: <sip:sip.stellar.example>",
            f"Call-ID: options-{self._value('call-id')}",
            f"CSeq: {self._sequence} OPTIONS",
            "Max-Forwards: 70",
            f"Contact: {self._value('contact')}",
            "Content-Length: 0",
        ]
        self._send("\r\n".join(lines) + "\r\n\r\n")
        return self._final()[1]

    @property
    def call_id(self) -> str:
        return self._value("call-id")

    @property
    def tag(self) -> str:
        """The gateway's."""
        return self._tag

    @property
    def from_tag(self) -> str:
        return self._value("from").partition(";tag=")[2]

    def refer(self, refer_to: str) -> int:
        """Send the gateway elsewhere; the status that the REFER gets."""
        self._sequence += 1
        self._request("REFER", "", extra=(f"Refer-To: {refer_to}",))
        return self._final()[1].status

    # --- what the gateway asks in the dialog ----------------------------------------------------

    def asked(self, method: str, patience: float = 10.0) -> Request:
        """The next request of a method; to be answered."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            for request in self._requests:
                if request.method == method:
                    self._requests.remove(request)
                    return request
            self._receive(until, requests=True)
        raise AssertionError(f"{self.name}: no {method} within {patience} s")

    def answer(self, request: Request, status: int, *headers: tuple[str, str]) -> None:
        self._send(response_to(request, status, "", headers).to_bytes().decode())

    def notify(self, line: str, state: str) -> int:
        """Tell how a transfer goes; the status that the NOTIFY gets."""
        self._sequence += 1
        extra = ("Event: refer", f"Subscription-State: {state}")
        self._request("NOTIFY", f"SIP/2.0 {line}\r\n", extra=extra, kind="message/sipfrag;version=2.0")
        return self._final()[1].status

    def bye(self) -> Response:
        self._sequence += 1
        self._request("BYE", "")
        return self._final()[1]

    def _prack(self, response: Response) -> None:
        """Acknowledge a reliable provisional response (RFC 3262); its description counts."""
        assert response.contact is not None
        rack = f"RAck: {response.headers.first('RSeq')} {response.cseq}"
        self._tag, self._target = response.to.tag or "", str(response.contact.uri)
        self._early = response.body
        self._sequence += 1
        self._request("PRACK", "", extra=(rack,))

    def _request(
        self,
        method: str,
        body: str,
        final: Response | None = None,
        extra: tuple[str, ...] = (),
        kind: str = "application/sdp",
    ) -> None:
        """A request in the dialog, or the ACK of a failure (RFC 3261 17.1.1.3)."""
        failed = final is not None and final.status >= 300
        via, uri = self._top_via(), self._target
        if failed:
            uri = self._head.split(" ")[1]
        elif self._via is not None:
            via = f"{self._via[1]};rport;branch=z9hG4bKin{self._sequence}{method}"
        to = str(final.to) if final is not None else f"{self._value('to')};tag={self._tag}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: {via}",
            f"From: {self._value('from')}",
            f"To: {to}",
            f"Call-ID: {self._value('call-id')}",
            f"CSeq: {self._sequence if final is None else final.cseq.number} {method}",
            "Max-Forwards: 70",
            *extra,
            *([f"Contact: {self._value('contact')}"] if method in ("INVITE", "UPDATE", "NOTIFY", "REFER") else []),
            *([f"Content-Type: {kind}"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self._send("\r\n".join(lines) + "\r\n\r\n" + body)

    def _top_via(self) -> str:
        return self._value("via").partition(",")[0]

    def _value(self, name: str) -> str:
        """Of a header, folded lines and compact forms included."""
        short = {"via": "v", "from": "f", "to": "t", "call-id": "i", "contact": "m"}.get(name, name)
        found = re.search(rf"(?im)^(?:{name}|{short})[ \t]*:((?:.*\r\n[ \t])*.*)", self._head)
        assert found is not None, name
        return re.sub(r"\r\n[ \t]+", " ", found[1]).strip()

    def _number(self, name: str) -> int:
        return int(self._value(name).split()[0])

    def _send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def _final(self, patience: float = 6.0) -> tuple[list[int], Response]:
        """The final response to what was sent last, and the provisional ones before it."""
        early: list[int] = []
        sequence, pracked = self._sequence, False
        until = time.monotonic() + patience
        while time.monotonic() < until:
            response = self._receive(until)
            if response is None:
                break
            if response.cseq.number != sequence or response.cseq.method == "ACK":
                continue
            if response.status >= 200:
                found = re.search(rb"(?m)^o=([^\r\n]*)", response.body)
                self.origin = found[1].decode() if found is not None else self.origin
                return early, response
            early.append(response.status)
            if "100rel" in response.require and not pracked:
                self._prack(response)
                pracked = True
        raise AssertionError(f"no final response within {patience} s, only {early}")

    def _receive(self, until: float, *, requests: bool = False) -> Response | None:
        """The next response; what else comes is kept.

        :param requests: return for a request too.
        """
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head) if found else None
            if length is not None and len(rest) >= int(length[1]):
                size = len(head) + 4 + int(length[1])
                data, self._buffer = self._buffer[:size], self._buffer[size:]
                message = parse_message(data, stream=True)
                if isinstance(message, Response):
                    return message
                self._requests.append(message)
                if requests:
                    return None
                continue
            self._socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                self._buffer += self._socket.recv(65535)
            except TimeoutError:
                return None

    # --- media ----------------------------------------------------------------------------------

    def _described(self, body: str) -> str:
        """A description with our media address, and the next version in ``o=``."""
        self._version += 1
        port = self._media.getsockname()[1]
        body = re.sub(r"c=IN IP4 [\d.]+", f"c=IN IP4 {self._address}", body)
        body = re.sub(r"m=audio \d+", f"m=audio {port}", body)
        body = re.sub(r"a=rtcp:\d+.*\r\n", "", body)
        self._described_last = re.sub(r"o=(\S+) (\d+) \d+", rf"o=\1 \2 {self._version}", body)
        return self._described_last

    def _agree(self, body: str) -> None:
        """Take what the answer says, or the offer that we answer."""
        self.description: SessionDescription = parse_sdp(body.encode())
        self.media: MediaDescription = next(each for each in self.description.media if each.port)
        theirs, _ = crypto_lines(self.media)
        ours, _ = crypto_lines(parse_sdp((self._offer or self._answer).encode()).media[0])
        self._srtp = Srtp()
        if theirs and ours:
            mine = next(line for line in ours if line.tag == theirs[0].tag)
            send, receive = mine.key, theirs[0].key
            self._srtp.set_keys(SrtpKey(send.suite, send.octets), SrtpKey(receive.suite, receive.octets))
        # What the answer names first is spoken, whoever wrote it (RFC 3264 6.1, 7).
        answer = self.media if self._offer else parse_sdp(self._answer.encode()).media[0]
        known = {each.payload_type: each for each in CODECS.values()}
        self._codec = next(known[number] for number in answer.payload_types if number in known)
        self._encoder, self._decoder = self._codec.encoder(), self._codec.decoder()
        self._sender = RtpSender(
            ssrc=0x5EED0000 + self._media.getsockname()[1],
            sequence_number=100,
            timestamp=1000,
            payload_type=self._codec.payload_type,
        )

    @property
    def codec(self) -> str:
        return self._codec.name

    @property
    def encrypted(self) -> bool:
        return self._srtp.active

    def talk(self, seconds: float = SECONDS) -> Heard:
        """Send a tone for a while, and take what comes back."""
        codec, encoder, decoder, sender = self._codec, self._encoder, self._decoder, self._sender
        pcm = tone((TONE,), codec.rate, int(seconds * 1000))
        frame = codec.pcm_octets(20)
        there = (str(self._connection()), self.media.port)
        self._media.settimeout(0.001)
        heard, forged, begun = bytearray(), 0, time.monotonic()
        for number in range(0, len(pcm), frame):
            packet = self._srtp.protect(sender.packet(encoder.encode(pcm[number : number + frame]), 160))
            assert packet is not None
            self._media.sendto(packet, there)
            next_at = begun + (number // frame + 1) * 0.02
            while (left := next_at - time.monotonic()) > 0:
                self._media.settimeout(left)
                try:
                    data = self._media.recv(2048)
                except TimeoutError:
                    break
                opened = self._srtp.unprotect(data)
                packet_in = parse_rtp(opened) if opened is not None else None
                forged += opened is None
                if packet_in is not None and packet_in.payload_type == codec.payload_type:
                    heard += decoder.decode(packet_in.payload)
        return Heard(bytes(heard), codec.rate, forged)

    def _connection(self) -> object:
        connection = self.media.connection or self.description.connection
        assert connection is not None
        return connection.address


class ListeningPeer:
    """A phone system that is asked by OPTIONS, over TLS with certificates on both sides; it answers the first one.

    :param certificate: its own, PEM with the key.
    """

    def __init__(self, host: str, certificate: Path, ca: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._context = context
        self._socket = socket.create_server((host, 0))
        self._socket.settimeout(10.0)
        self.host, self.port = host, self._socket.getsockname()[1]

    def __enter__(self) -> ListeningPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def asked(self) -> tuple[Request, tuple[str, ...]]:
        """The first request, and the names in the certificate of whoever sent it."""
        plain, _ = self._socket.accept()
        with self._context.wrap_socket(plain, server_side=True) as connection:
            connection.settimeout(10.0)
            request = parse_message(connection.recv(65535), stream=True)
            assert isinstance(request, Request)
            connection.sendall(response_to(request, 200, to_tag="there").to_bytes())
            certificate = connection.getpeercert() or {}
        names = certificate.get("subjectAltName", ())
        return request, tuple(str(name[1]) for name in names if isinstance(name, tuple))


def _authorization(refused: Response, account: Account, uri: str) -> str:
    challenge = choose_challenge(refused.headers.all("WWW-Authenticate"))
    assert challenge is not None
    secret = ha1(account.username, challenge.realm, account.password)
    value = response_value(secret, "INVITE", uri, challenge.nonce, qop="auth", nc="00000001", cnonce="c0ffee")
    return (
        f'Digest username="{account.username}", realm="{challenge.realm}", nonce="{challenge.nonce}", uri="{uri}", '
        f'response="{value}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c0ffee"'
    )
