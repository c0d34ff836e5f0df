"""What one source may do before we know it: a rate, and a number of failed authentications (RELIABILITY 3.12).

Sources that we trust (a provider's addresses, a credential's allowed IPs, an address that authenticated
within the hour) are throttled, never banned. A failure counts only where it answers a challenge that the
same source was given, which its nonce says, so that spoofed UDP cannot ban a victim. A source is an IPv4
address, or an IPv6 /64: whoever has one address of that has them all.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from hashlib import blake2b
from typing import TypeVar

from attrs import define, field, frozen

from stellar_gw.sip.hosts import source_of

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_PREFIX = 8
"""Octets kept of the hash of a nonce and a guess."""


@frozen(kw_only=True)
class GuardLimits:
    """Rates per second and times in seconds; ``sources`` bounds the memory."""

    requests_per_second: float = 100.0
    burst: float = 400.0
    trusted_requests_per_second: float = 2000.0
    trusted_burst: float = 8000.0
    failures: int = 10
    failure_window: float = 60.0
    ban: float = 300.0
    trust: float = 3600.0
    sources: int = 50_000


@define
class _Bucket:
    """A token bucket."""

    tokens: float
    at: float

    def take(self, rate: float, burst: float, now: float) -> bool:
        self.tokens = min(burst, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@frozen
class _Failure:
    """:ivar guess: a hash of challenge and answer."""

    at: float
    guess: bytes


@define
class Guard:
    """Everything remembered of sources, each table bounded and the oldest forgotten first.

    Each is named by an address of it.
    """

    limits: GuardLimits = field(factory=GuardLimits)
    _buckets: OrderedDict[str, _Bucket] = field(factory=OrderedDict, init=False)
    _failures: OrderedDict[str, deque[_Failure]] = field(factory=OrderedDict, init=False)
    _banned: OrderedDict[str, float] = field(factory=OrderedDict, init=False)
    _authenticated: OrderedDict[str, float] = field(factory=OrderedDict, init=False)

    def admits(self, source: str, trusted: bool, now: float) -> bool:
        """Whether one more request of this source may be looked at."""
        limits, source = self.limits, source_of(source)
        trusted = trusted or self.known(source, now)
        rate, burst = (
            (limits.trusted_requests_per_second, limits.trusted_burst)
            if trusted
            else (limits.requests_per_second, limits.burst)
        )
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = _Bucket(burst, now)
            _remember(self._buckets, source, bucket, limits.sources)
        else:
            self._buckets.move_to_end(source)
        return bucket.take(rate, burst, now)

    def banned(self, source: str, now: float) -> bool:
        source = source_of(source)
        until = self._banned.get(source)
        if until is None:
            return False
        if until <= now:
            del self._banned[source]
            return False
        return True

    def authenticated(self, source: str, now: float) -> None:
        source = source_of(source)
        _remember(self._authenticated, source, now, self.limits.sources)
        self._failures.pop(source, None)

    def known(self, source: str, now: float) -> bool:
        """Whether the source authenticated within the hour."""
        at = self._authenticated.get(source_of(source))
        return at is not None and now - at < self.limits.trust

    def failed(self, source: str, nonce: str, guess: str, trusted: bool, now: float) -> tuple[int, bool]:
        """Count a failed authentication; the same guess at the same challenge is a retransmission, counted once.

        :param nonce: of a challenge that this source was given.
        :param guess: who the caller says to be, and the digest.
        :return: how many failures of the source are in the window now, and whether it is banned for them;
            0 where this one does not count.
        """
        source = source_of(source)
        guessed = _pair(nonce, guess)
        window = self._failures.get(source)
        if window is None:
            window = deque(maxlen=max(1, self.limits.failures))
            _remember(self._failures, source, window, self.limits.sources)
        while window and window[0].at <= now - self.limits.failure_window:
            window.popleft()
        if any(failure.guess == guessed for failure in window):
            return 0, False
        window.append(_Failure(now, guessed))
        count = len(window)
        if count < self.limits.failures or trusted or self.known(source, now):
            return count, False
        del self._failures[source]
        _remember(self._banned, source, now + self.limits.ban, self.limits.sources)
        return count, True


def _pair(one: str, other: str) -> bytes:
    return blake2b(f"{one}\0{other}".encode("utf-8", "surrogateescape"), digest_size=_PREFIX).digest()


def _remember(table: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)
