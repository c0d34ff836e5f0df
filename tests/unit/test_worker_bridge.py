"""Two legs bridged in a worker: one stream for each, whatever it is made of."""

from __future__ import annotations

from errno import ENETUNREACH

from stellar_gw.control import messages
from stellar_gw.control.messages import Codec, Release
from stellar_gw.media.rtcp import ReceiverReport, ReportBlock, SenderReport, build_rtcp, middle_32, ntp_time, parse_rtcp
from stellar_gw.media.rtp import RtpPacket, RtpSender, build_rtp, sequence_delta, timestamp_delta
from stellar_gw.worker.pacer import SLOTS
from tests.unit.bridge_case import CALLER, TARGET, BridgeTestCase, Step, steps
from tests.unit.worker_world import HOST, PCMA, PCMU, WALL, Phone

REGULAR = Step(1, 160)
MARKED = Step(1, 160, marker=True)
QUIET = b"\xff" * 160
SAID = {"caller": b"\x11" * 160, "target": b"\x22" * 160}


class OneStreamTests(BridgeTestCase):
    def test_agent_target_agent(self) -> None:
        """Each leg sees one stream across agent, bridge and agent: by 1 and by 160, marked at each change."""
        self.set_up()
        self.talk(3)
        self.bridge()
        self.talk(100)
        self.unbridge()
        self.talk(3)
        for phone, heard in ((self.caller, SAID["target"]), (self.target, SAID["caller"])):
            self.assertEqual([packet.payload for packet in phone.packets], [QUIET] * 3 + [heard] * 100 + [QUIET] * 3)
            self.assertEqual(steps(phone.packets), [REGULAR] * 2 + [MARKED] + [REGULAR] * 99 + [MARKED] + [REGULAR] * 2)

    def test_again_and_again(self) -> None:
        """A bridge may come and go at any moment, and no frame is missing or doubled."""
        self.set_up()
        for _ in range(5):
            self.bridge()
            self.talk(2)
            self.unbridge()
            self.talk(1)
        self.assertEqual(set(steps(self.caller.packets)), {REGULAR, MARKED})
        self.assertEqual(len(self.caller.packets), 15)

    def test_until_the_first_packet(self) -> None:
        """Silence is sent until the other leg is heard for the first time."""
        self.set_up()
        self.bridge()
        self.talk(4, target=None)
        self.talk(2)
        self.assertEqual([packet.payload for packet in self.caller.packets], [QUIET] * 4 + [SAID["target"]] * 2)
        self.assertEqual(set(steps(self.caller.packets)), {REGULAR, MARKED})

    def test_own_numbers(self) -> None:
        """Each leg's stream has the leg's own SSRC and the payload type that its peer wants."""
        lax = Codec(name="PCMU", payload_type=100)
        self.set_up(target={"send": lax, "receive": (PCMU,)})
        self.bridge()
        self.talk(5)
        ssrcs = {phone: {packet.ssrc for packet in phone.packets} for phone in (self.caller, self.target)}
        self.assertEqual([packet.payload_type for packet in self.target.packets], [100] * 5)
        self.assertEqual([packet.payload_type for packet in self.caller.packets], [0] * 5)
        self.assertEqual([len(each) for each in ssrcs.values()], [1, 1])
        self.assertNotEqual(ssrcs[self.caller], ssrcs[self.target])

    def test_source_starts_anew(self) -> None:
        """A phone that changes SSRC, numbers and timestamps in mid-call is still one stream to the other."""
        self.set_up()
        self.bridge()
        self.talk(5)
        sender = self.target.sender
        sender.ssrc, sender.sequence_number, sender.timestamp = 0xFEED, 7, 3_000_000_000
        self.talk(5)
        self.assertEqual(steps(self.caller.packets), [REGULAR] * 4 + [MARKED] + [REGULAR] * 4)

    def test_sources_beside_each_other(self) -> None:
        """Where a phone system sends two SSRCs of audio at once, the other side hears one of them, at its own pace, on
        both ways; so do an agent and whoever has it coded anew, and the one that stays is followed."""
        pcma = {"receive": (PCMU, PCMA), "send": PCMA}
        for media, ours in ((None, 0), (pcma, 8)):
            self.setUp()
            self.set_up(caller=media)
            self.bridge()
            self.talk(10)
            music = RtpSender(0xFEED, 7, 3_000_000_000, 0)
            for both in [True] * 200 + [False] * 50:
                if both:
                    self.target.say(SAID["target"], self.target_rtp)
                self.target.send(music.packet(b"\x33" * 160, 160), self.target_rtp)
                self.caller.say(SAID["caller"], self.rtp)
                self.world.tick()
            packets = self.caller.packets
            self.assertIn(len(packets), range(258, 263))
            self.assertEqual({packet.payload_type for packet in packets}, {ours})
            self.assertEqual({each for each in steps(packets) if not each.marker}, {REGULAR})
            heard = [packet.payload for packet in packets[20:]]
            self.assertEqual(len(set(heard)), 1)
            if media is None:
                self.assertEqual(heard[0], b"\x33" * 160)
            counted = self.statistics()["target"]
            self.assertEqual((counted.packets_received, counted.packets_lost, counted.packets_rejected), (261, 0, 199))

    def test_wrap_around(self) -> None:
        """Numbers and timestamps go over their ends on both sides of the bridge, together and each alone."""
        for ours, theirs in (
            ((65533, 0xFFFFFFF0), (65530, 0xFFFFFF00)),
            ((65525, 9000), (100, 8000)),
            ((500, 0xFFFFF700), (100, 8000)),
            ((500, 9000), (65525, 8000)),
            ((500, 9000), (100, 0xFFFFF700)),
        ):
            self.setUp()
            self.set_up()
            sender = self.world.carrier._sessions["c-1"].legs["caller"].port.sender
            sender.sequence_number, sender.timestamp = ours
            self.target.sender.sequence_number, self.target.sender.timestamp = theirs
            self.bridge()
            self.talk(40)
            self.assertEqual(steps(self.caller.packets), [REGULAR] * 39)
            self.assertEqual({packet.payload_type for packet in self.caller.packets}, {0})
            self.assertEqual(self.statistics()["target"].packets_lost, 0)

    def test_loss_and_disorder(self) -> None:
        """What is lost or out of order on one side is so on the other, and nothing else changes."""
        self.set_up()
        self.bridge()
        self.talk(10)
        datagrams = [self.target.sender.packet(bytes([number]) * 160, 160) for number in range(10)]
        self.caller.datagrams.clear()
        for number in (0, 1, 3, 2, 6, 7, 8, 9):
            self.target.send(datagrams[number], self.target_rtp)
            self.world.tick()
        heard = [(packet.payload[0], packet.sequence_number, packet.timestamp) for packet in self.caller.packets]
        numbers = [(payload, sequence_delta(number, heard[0][1])) for payload, number, _ in heard]
        self.assertEqual(numbers, [(number, number) for number in (0, 1, 3, 2, 6, 7, 8, 9)])
        self.assertEqual({timestamp_delta(at, heard[0][2]) // 160 - number for number, _, at in heard}, {0})
        self.assertEqual(self.statistics()["target"].packets_lost, 2)

    def test_long_packets(self) -> None:
        """Packets of other lengths are passed on as they are."""
        self.set_up()
        self.bridge()
        for octets in (80, 160, 240, 480):
            self.target.say(b"\x33" * octets, self.target_rtp)
            self.world.tick()
        self.assertEqual([len(packet.payload) for packet in self.caller.packets], [80, 160, 240, 480])


class ReportTests(BridgeTestCase):
    def reports(self, phone: Phone) -> list[SenderReport]:
        compounds = [parse_rtcp(datagram) or () for datagram in phone.datagrams]
        return [packet for compound in compounds for packet in compound if isinstance(packet, SenderReport)]

    def test_sender_reports(self) -> None:
        """Our reports to each side count what it was sent and what came from it, on the short way too."""
        self.set_up()
        listeners = {CALLER: Phone(self.world.network, (CALLER[0], CALLER[1] + 1))}
        listeners[TARGET] = Phone(self.world.network, (TARGET[0], TARGET[1] + 1))
        self.talk(10)
        self.bridge()
        self.talk(400)
        for address, from_ssrc, number in ((CALLER, 0xABCD, 100), (TARGET, 0xBEEF, 40000)):
            report = self.reports(listeners[address])[-1]
            phone = self.caller if address == CALLER else self.target
            at = report.ntp / (1 << 32) - ntp_time(WALL) / (1 << 32)
            sent = round(at / 0.02)
            self.assertIn(report.packets_sent - sent, (-1, 0, 1))
            self.assertEqual(report.octets_sent, 160 * report.packets_sent)
            last = phone.packets[report.packets_sent - 1]
            self.assertEqual(report.ssrc, last.ssrc)
            self.assertIn(timestamp_delta(report.rtp_timestamp, last.timestamp), range(321))
            (block,) = report.blocks
            self.assertEqual((block.ssrc, block.packets_lost, block.fraction_lost, block.jitter), (from_ssrc, 0, 0, 0))
            self.assertIn(block.highest_sequence - number - report.packets_sent, (-2, -1, 0))

    def test_loss_in_blocks(self) -> None:
        """Loss and jitter of one side are told to that side."""
        self.set_up()
        rtcp = Phone(self.world.network, (TARGET[0], TARGET[1] + 1))
        self.bridge()
        for frame in range(400):
            if frame % 10 == 9:
                self.target.sender.packet(b"lost" * 40, 160)
            else:
                self.target.say(SAID["target"], self.target_rtp)
            if frame % 2:
                self.world.clock.advance(0.004)  # it arrives now
            self.caller.say(SAID["caller"], self.rtp)
            self.world.tick()
        (block,) = self.reports(rtcp)[-1].blocks
        self.assertApproximates(block.fraction_lost / 256, 0.1, 0.02)
        self.assertApproximates(block.jitter, 128, 10)  # each second packet came 16 ms early
        counted = self.statistics()
        self.assertEqual((counted["target"].packets_lost, counted["caller"].packets_lost), (39, 0))

    def test_about_ours(self) -> None:
        """What a peer reports of our stream is understood in a bridge, too."""
        self.set_up()
        rtcp = Phone(self.world.network, (TARGET[0], TARGET[1] + 1))
        self.bridge()
        self.talk(5)
        ours = self.target.packets[0].ssrc
        sent = ntp_time(WALL + self.world.clock.seconds())
        self.world.clock.advance(0.2)
        block = ReportBlock(ours, 64, 5, 100, 0, middle_32(sent), int(0.1 * 65536))
        rtcp.send(build_rtcp(ReceiverReport(0xBEEF, (block,))), self.target_rtp + 1)
        self.world.settle()
        counted = self.statistics()["target"]
        self.assertEqual(counted.remote_loss, 0.25)
        self.assertApproximates(counted.round_trip_ms, 100, 1)

    def test_statistics(self) -> None:
        """Both legs' statistics hold what was passed on."""
        self.set_up()
        self.talk(5)
        self.bridge()
        self.talk(95)
        counted = self.statistics()
        for leg in ("caller", "target"):
            self.assertEqual(
                (
                    counted[leg].packets_received,
                    counted[leg].octets_received,
                    counted[leg].packets_sent,
                    counted[leg].octets_sent,
                    counted[leg].packets_rejected,
                ),
                (100, 16000, 100, 16000, 0),
            )


class LatchTests(BridgeTestCase):
    def test_strangers(self) -> None:
        """A stranger's packets into a bridge are heard by nobody and change no way."""
        self.set_up()
        self.bridge()
        self.talk(60)
        stranger = Phone(self.world.network, ("203.0.113.66", 9999))
        before = len(self.caller.packets)
        for _ in range(50):
            stranger.say(b"\x66" * 160, self.target_rtp)
            self.talk(1)
        self.assertEqual({packet.payload for packet in self.caller.packets[before:]}, {SAID["target"]})
        self.assertEqual((len(self.caller.packets) - before, stranger.packets), (50, []))

    def test_who_knows_the_next_packet(self) -> None:
        """Whoever guesses SSRC and numbers to the last one is heard neither in a bridge nor by an agent: that he is
        elsewhere is seen by sockets that hear any address, too (those of legs that take part in ICE)."""
        ice = {"ice": messages.Ice("ours", "p" * 22)}
        for bridged in (True, False):
            self.setUp()
            self.set_up(caller=ice, target=ice)
            if bridged:
                self.bridge()
            self.talk(60)
            self.assertTrue(all(each.connected is None for each in self.world.network.sockets.values()))
            for phone, port in ((self.caller, self.rtp), (self.target, self.target_rtp)):
                next_of = phone.sender
                forged = build_rtp(
                    RtpPacket(
                        next_of.payload_type,
                        False,
                        next_of.sequence_number,
                        next_of.timestamp,
                        next_of.ssrc,
                        b"\x66" * 160,
                    )
                )
                self.world.network.carry(forged, ("203.0.113.66", 9999), (HOST, port))
            self.talk(20)
            heard = {packet.payload for phone in (self.caller, self.target) for packet in phone.packets}
            counted = [(leg.packets_received, leg.packets_rejected) for leg in self.statistics().values()]
            self.assertEqual((b"\x66" * 160 in heard, counted), (False, [(80, 1), (80, 1)]))

    def test_behind_nat(self) -> None:
        """Peers on both sides may send from elsewhere than they said, and get their audio there."""
        self.set_up(
            caller={"remote": ("10.0.0.1", 5000), "signalling_host": CALLER[0]},
            target={"remote": ("10.0.0.2", 5000), "signalling_host": TARGET[0]},
        )
        self.bridge()
        self.talk(20)
        self.assertEqual([packet.payload for packet in self.caller.packets][-10:], [SAID["target"]] * 10)
        self.assertEqual([packet.payload for packet in self.target.packets][-10:], [SAID["caller"]] * 10)

    def test_peer_moves(self) -> None:
        """A peer whose NAT binding changes goes on from elsewhere after its silence, and is heard and sent to."""
        self.set_up()
        self.bridge()
        self.talk(60)
        self.talk(40, target=None)
        moved = Phone(self.world.network, ("198.51.100.8", 7777))
        moved.sender = self.target.sender
        self.forget()
        for _ in range(30):
            moved.say(SAID["target"], self.target_rtp)
            self.talk(1, target=None)
        heard = [packet.payload for packet in self.caller.packets]
        self.assertEqual(heard[-20:], [SAID["target"]] * 20)
        self.assertEqual({packet.payload for packet in moved.packets}, {SAID["caller"]})
        self.assertGreater(len(moved.packets), 20)

    def test_re_invite_moves(self) -> None:
        """A re-INVITE that names another address moves that side at once."""
        self.set_up()
        self.bridge()
        self.talk(60)
        there = Phone(self.world.network, ("198.51.100.9", 6000))
        self.media("target", remote=there.address, remote_rtcp=("198.51.100.9", 6001))
        self.forget()
        self.talk(10, target=None)
        self.assertEqual((len(self.target.packets), len(there.packets)), (0, 10))

    def test_connected(self) -> None:
        """Sockets are connected to their peers while these are heard by an agent or each other, and not otherwise."""
        self.set_up()
        sockets = [self.world.network.sockets[HOST, port] for port in (self.rtp, self.target_rtp)]
        self.talk(20)
        seen = [[each.connected for each in sockets]]
        self.bridge()
        self.talk(40)
        seen.append([each.connected for each in sockets])
        self.assertEqual([each.certain for each in sockets], [CALLER, TARGET])
        self.talk(45, target=None)
        seen.append([each.connected for each in sockets])
        self.talk(20)
        self.media("caller")
        seen.append([each.connected for each in sockets])
        self.talk(20)
        self.unbridge()
        self.talk(20)
        seen.append([each.connected for each in sockets])
        with_agent: list[object] = [CALLER, None]
        self.assertEqual(seen, [with_agent, [CALLER, TARGET], [CALLER, None], [None, TARGET], with_agent])

    def test_no_route(self) -> None:
        """Where there is no route at the moment at which a socket would be connected, its call goes on all the same,
        and it is connected once there is one."""
        self.set_up()
        sockets = [self.world.network.sockets[HOST, port] for port in (self.rtp, self.target_rtp)]
        refused: list[OSError] = []
        connects = [each.connect for each in sockets]

        def no_route(host: str, port: int) -> None:
            raise OSError(ENETUNREACH, "Network is unreachable")

        for each in sockets:
            self.patch(each, "connect", no_route)
            self.patch(each, "not_sent", refused.append)
        self.talk(10)
        self.bridge()
        self.talk(100)
        self.assertEqual([packet.payload for packet in self.caller.packets][-100:], [SAID["target"]] * 100)
        self.assertEqual({reason.errno for reason in refused}, {ENETUNREACH})
        for each, connect in zip(sockets, connects, strict=True):
            self.patch(each, "connect", connect)
        self.talk(300)
        self.assertEqual([each.connected for each in sockets], [CALLER, TARGET])
        self.assertEqual(self.flushLoggedErrors(), [])


class PaceTests(BridgeTestCase):
    def test_nothing_of_ours(self) -> None:
        """While packets are passed on we send none of our own, and look after the legs five times a second."""
        self.set_up()
        self.bridge()
        self.talk(10)
        ticks: list[float] = []
        session = self.world.carrier._sessions["c-1"]
        tick = session.tick

        def counted(missed: int) -> None:
            ticks.append(self.world.clock.seconds())
            tick(missed)

        self.patch(session, "tick", counted)
        before = len(self.caller.packets)
        self.talk(100)
        self.assertEqual((len(ticks), len(self.caller.packets) - before), (10, 100))

    def test_quiet_leg(self) -> None:
        """A leg that falls silent is replaced by silence after a second; its next packet is heard, marked."""
        self.set_up()
        self.bridge()
        self.talk(50)
        self.forget()
        self.talk(100, target=None)
        quiet = self.caller.packets
        self.target.sender.skip(100 * 160)
        self.talk(10)
        packets = self.caller.packets
        self.assertEqual({packet.payload for packet in quiet}, {QUIET})
        self.assertIn(len(quiet), range(38, 52))
        self.assertEqual([packet.payload for packet in packets[len(quiet) :]], [SAID["target"]] * 10)
        self.assertEqual(steps(packets), [REGULAR] * (len(quiet) - 1) + [MARKED] + [REGULAR] * 9)

    def test_quiet_time(self) -> None:
        """The silence's timestamps stand where time has gone to."""
        self.set_up()
        self.bridge()
        self.talk(50)
        last = self.caller.packets[-1]
        self.talk(100, target=None)
        first = self.caller.packets[50]
        gap = timestamp_delta(first.timestamp, last.timestamp)
        self.assertTrue(8000 <= gap <= 9920 and first.marker and gap % 160 == 0, (gap, first))

    def test_lost(self) -> None:
        """A bridged leg that falls silent is told after 30 s, and when it is back."""
        self.set_up()
        self.bridge()
        self.talk(10)
        self.talk(50 * 35, target=None)
        self.talk(50)
        told = [event for event in self.world.told() if isinstance(event, messages.MediaLost | messages.MediaBack)]
        self.assertEqual(
            [(type(event).__name__, event.leg) for event in told], [("MediaLost", "target"), ("MediaBack", "target")]
        )

    def test_joined_at_both_ends(self) -> None:
        """Where each leg's peer is the other leg (a phone system has joined the two, or its SDP says so), what goes
        round does so no faster than time passes: nothing but the wire would pace it."""
        for long in (True, False):
            self.setUp()
            self.set_up({"remote": (HOST, self.target_rtp)}, {"remote": (HOST, self.rtp)})
            legs = self.world.carrier._sessions["c-1"].legs.values()
            if long:
                for leg in legs:
                    self.patch(leg.port._short_way, "shorten", lambda relay, packet, taps, now: None)
            self.world.network.delay = 0.001
            self.bridge()
            for _ in range(500):
                self.world.clock.pump([0.001] * 20)
                self.world.pacer.expired(SLOTS)
            for counted in self.statistics().values():
                self.assertIn(counted.packets_sent, range(500, 900))

    def test_flood(self) -> None:
        """After a minute of half the audio a peer may send 15 s ahead of time; on the short way, which looks seldom, up
        to twice as much."""
        passed = []
        for long in (True, False):
            self.setUp()
            self.set_up()
            if long:
                port = self.world.carrier._sessions["c-1"].legs["target"].port
                self.patch(port._short_way, "shorten", lambda relay, packet, taps, now: None)
            self.bridge()
            for _ in range(1500):  # at half the pace that their timestamps tell
                self.talk(1)
                self.world.tick()
            before = len(self.caller.packets)
            for _ in range(20):
                for _ in range(100):
                    self.target.say(SAID["target"], self.target_rtp)
                self.world.settle()
            passed.append(len(self.caller.packets) - before)
        self.assertEqual((passed[0] in range(740, 770), passed[1] in range(740, 1500)), (True, True), passed)

    def test_hold(self) -> None:
        """On hold neither hears the other: silence for whoever may be sent to; then the bridge goes on."""
        self.set_up()
        self.bridge()
        self.talk(20)
        seen = []
        for direction in ("sendonly", "inactive", "recvonly", "sendrecv"):
            self.media("target", direction=direction)
            self.talk(60)
            self.forget()
            self.talk(10)
            heard = [{packet.payload for packet in phone.packets} for phone in (self.caller, self.target)]
            seen.append((direction, *heard))
        caller, target = {SAID["caller"]}, {SAID["target"]}
        self.assertEqual(
            seen,
            [
                ("sendonly", {QUIET}, caller),
                ("inactive", {QUIET}, set()),
                ("recvonly", target, set()),
                ("sendrecv", target, caller),
            ],
        )

    def test_time_passes_on_hold(self) -> None:
        """Whoever comes back from hold finds one stream, with the time that passed in it."""
        self.set_up()
        self.bridge()
        self.talk(50)
        before = self.target.packets[-1]
        self.media("target", direction="inactive")
        self.talk(100)
        self.media("target")
        self.talk(5)
        after = self.target.packets[50]
        self.assertEqual(sequence_delta(after.sequence_number, before.sequence_number), 1)
        self.assertTrue(after.marker)
        self.assertApproximates(timestamp_delta(after.timestamp, before.timestamp), 101 * 160, 160)


class EndTests(BridgeTestCase):
    def test_target_leaves(self) -> None:
        """When one leg is released the other hears silence in the same stream, and can be bound again."""
        self.set_up()
        self.bridge()
        self.talk(20)
        released = self.world.ask(Release(request=0, call="c-1", leg="target"))
        self.assertEqual([leg.leg for leg in released.legs], ["target"])
        self.world.tick(10)
        self.bind("caller", "agent", agent_hears=True)
        self.world.tick(5)
        packets = self.caller.packets
        self.assertEqual([packet.payload for packet in packets], [SAID["target"]] * 20 + [QUIET] * 15)
        self.assertEqual(set(steps(packets)), {REGULAR, MARKED})

    def test_caller_leaves(self) -> None:
        """With the caller's leg goes the agent; the target is left with silence."""
        self.set_up()
        self.bridge()
        self.talk(20)
        self.world.ask(Release(request=0, call="c-1", leg="caller", cause="caller_hangup", by="caller"))
        self.forget()
        self.world.tick(10)
        self.assertEqual({packet.payload for packet in self.target.packets}, {QUIET})

    def test_socket_fails(self) -> None:
        """Where one leg's socket is gone, the other's packets no longer take a short way to it."""
        self.set_up()
        self.bridge()
        self.talk(20)
        port = self.world.carrier._sessions["c-1"].legs["caller"].port
        open_before = port._short_way.open
        self.world.network.sockets[HOST, self.target_rtp].stopListening()
        self.world.settle()
        self.assertEqual((open_before, port._short_way.open), (True, False))
        self.talk(20)
        self.assertEqual(
            [event.code for event in self.world.told() if isinstance(event, messages.AgentFailed)], ["media_failure"]
        )

    def test_all(self) -> None:
        """Releasing the call closes everything."""
        self.set_up()
        self.bridge()
        self.talk(20)
        self.statistics()
        self.world.settle()
        self.assertEqual((len(self.world.pacer), sorted(self.world.network.sockets)), (0, [CALLER, TARGET]))
        self.forget()
        self.talk(5)
        self.assertEqual((self.caller.datagrams, self.target.datagrams), ([], []))
