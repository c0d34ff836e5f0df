"""What to do on a call: whom to call, as whom, what to play and press, and when to hang up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from stellar_gw.errors import StellarError
from stellar_gw.media.source import Recording, Silence, Source, Tone
from stellar_gw.media.wav import WavError, read_wav
from stellar_gw.phone.recording import RATE
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.offer_answer import CODECS
from stellar_gw.sip.srtp import SUITES
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr

SrtpWish = Literal["off", "optional", "required"]
SRTP_WISHES: tuple[SrtpWish, ...] = ("off", "optional", "required")


class PlanError(StellarError):
    """A plan that cannot be carried out; one line for people."""


@frozen
class Playable:
    """Something to play, which each call plays from its beginning.

    :ivar seconds: how long it is; 0 for what never ends.
    :ivar tone: its frequency in Hz where it is one tone.
    """

    make: Callable[[], Source]
    seconds: float = 0.0
    tone: float | None = None


def playable(text: str) -> Playable:
    """``silence``, ``tone:440`` or the path of a WAV file.

    :raise PlanError: it is none of them.
    """
    if text == "silence":
        return Playable(lambda: Silence(RATE))
    if text.startswith("tone:"):
        hertz = text.removeprefix("tone:")
        if not (hertz.isascii() and hertz.isdigit() and 50 <= int(hertz) <= 7000):
            raise PlanError(f"--play {text}: a tone has 50 to 7000 whole Hz, e.g. tone:440")
        return Playable(lambda: Tone((int(hertz),), RATE), tone=float(hertz))
    try:
        wav = read_wav(Path(text).read_bytes())
        pcm = wav.at(RATE)
    except OSError as error:
        raise PlanError(f"--play {text}: {error.strerror or error}; give silence, tone:440 or a WAV file") from None
    except WavError as error:
        raise PlanError(f"--play {text}: {error}") from None
    return Playable(lambda: Recording(pcm, RATE), seconds=wav.seconds)


SILENCE = playable("silence")


@frozen(kw_only=True)
class Conduct:
    """What to do while a call is up; times in seconds after the answer.

    :ivar duration: hang up then; 0: only the other side hangs up.
    :ivar hold_after: put the call on hold then, for ``hold_for``; ``None``: do not.
    :ivar digits_after: send ``digits`` then.
    :ivar record, record_sent: paths of WAV files, empty for none.
    :ivar srtp: ``optional`` offers RTP/AVP with ``a=crypto``, ``required`` RTP/SAVP; ``srtp_suites`` are those of
        either, most wanted first.
    :ivar keep: how much audio is kept for measuring.
    """

    codecs: tuple[str, ...] = CODECS
    ptime: int = 20
    telephone_event: bool = True
    rtcp_mux: bool = False
    srtp: SrtpWish = "off"
    srtp_suites: tuple[str, ...] = SUITES
    play: Playable = SILENCE
    digits: str = ""
    digits_after: float = 1.0
    duration: float = 5.0
    hold_after: float | None = None
    hold_for: float = 2.0
    record: str = ""
    record_sent: str = ""
    keep: float = 600.0


@frozen(kw_only=True)
class CallPlan(Conduct):
    """One outgoing call.

    :ivar to: whom to call; its ``transport`` parameter or scheme chooses the transport.
    :ivar proxy: where to send it; ``None``: where ``to`` leads.
    :ivar from_: who calls; made of the user name where it is ``None``.
    :ivar ring_timeout: CANCEL if nobody has answered by then, in seconds.
    :ivar delayed_offer: send the INVITE without SDP, and the answer in the ACK.
    """

    to: SipUri
    proxy: SipUri | None = None
    from_: NameAddr | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    ring_timeout: float = 60.0
    delayed_offer: bool = False

    @property
    def transport(self) -> Transport:
        return transport_of(self.proxy or self.to)


@frozen(kw_only=True)
class AnswerPlan(Conduct):
    """What to do with a call that comes in.

    :ivar ring_for: seconds of 180 before the final status.
    :ivar status: 200, or the final status that refuses it.
    """

    ring_for: float = 0.0
    status: int = 200


def transport_of(uri: SipUri) -> Transport:
    """:raise PlanError: a transport that we do not speak."""
    named = (uri.params.get("transport") or "").lower()
    if uri.scheme == "sips" or named == "tls":
        return "tls"
    if named in ("", "udp"):
        return "udp"
    if named == "tcp":
        return "tcp"
    raise PlanError(f"transport {named!r} is not spoken here: udp, tcp or tls")
