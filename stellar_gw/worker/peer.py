"""A port's peer, as offers and answers have described it so far: where it is, and how it proves that it is the one."""

from __future__ import annotations

from stellar_gw.control.messages import SetMedia
from stellar_gw.media.ice import IceCredentials, IceLite
from stellar_gw.media.latch import Latch
from stellar_gw.media.srtp import Srtp
from stellar_gw.worker.agreed import Agreed, agreed, srtp_keys


class Peer:
    """The same for RTP and RTCP. A latch, and SRTP, once there are any, are the same ever after.

    :ivar media: the last word of offer and answer; None before the first, as ``latch`` is.
    :ivar latch: which sources are its.
    :ivar srtp: what enciphers, None as long as all was plain.
    :ivar ice: answers its connectivity checks; None where it makes none.
    """

    def __init__(self) -> None:
        self.media: SetMedia | None = None
        self.latch: Latch | None = None
        self.srtp: Srtp | None = None
        self.ice: IceLite | None = None

    def set_keys(self, media: SetMedia) -> bool:
        """What comes and goes is enciphered as offer and answer say.

        :return: whether a key of ours begins, under which the peer has heard nothing yet.
        :raise LocalProtocolError: an SRTP key that cannot be one; nothing has changed then.
        """
        send, receive = srtp_keys(media)
        if self.srtp is None and (send is not None or receive is not None):
            self.srtp = Srtp()
        return self.srtp is not None and self.srtp.set_keys(send, receive)

    def negotiated(self, media: SetMedia, now: float) -> Agreed:
        """The rest of what they say."""
        self.media = media
        said = agreed(media)
        remote, host, strict = media.remote, media.signalling_host, media.strict_latch
        if self.latch is None:
            self.latch = Latch(remote, host, said.types, now, strict, said.rtcp)
        elif media.fresh:
            self.latch.fresh(remote, host, said.types, now, strict, said.rtcp)
        self._agree_ice(media, self.latch, now)
        return said

    def _agree_ice(self, media: SetMedia, latch: Latch, now: float) -> None:
        """A session that goes on keeps what was nominated; another begins with nothing (RFC 8445 9)."""
        ours = None if media.ice is None else IceCredentials(ufrag=media.ice.ufrag, password=media.ice.password)
        if ours is None:
            self.ice = None
        elif self.ice is None or self.ice.ours != ours:
            self.ice = IceLite(ours)
        elif self.ice.nominated is not None:
            latch.nominate(self.ice.nominated, now)
