"""Transfers from one baresip to another: telephones that are not ours, by what each of them heard."""

from __future__ import annotations

from array import array

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.testing.ports import free_port
from tests.integration.baresip_support import Baresip
from tests.integration.gateway_support import HOST
from tests.integration.sound import noise, recognised
from tests.integration.transfer_support import start_with_transfers

TALK = 6.0
HEARD = 0.1
"""Of what was said: two telephones and two legs share a busy machine; of other noise nothing is ever found."""
SOUND = noise(20.0)
OTHER_SOUND = array("h", reversed(array("h", SOUND))).tobytes()
"""What either says: read backwards it is other noise, as loud as the first."""


class BaresipTests(SynchronousTestCase):
    timeout = 120

    def transferred(self, method: str, *, codecs: tuple[str, str], encryption: str = "") -> tuple[str, float, float]:
        """A call that is sent on to another telephone.

        :return: the record's result; how much the caller heard of the target, and the target of the caller.
        """
        port = free_port()
        gateway = start_with_transfers(self, [f'to: "sip:freepbx-hq@{HOST}:{port}", method: {method}'])
        mine, theirs = codecs
        with (
            Baresip(
                gateway, "target", transport="udp", codec=theirs, play=OTHER_SOUND, encryption=encryption, listen=port
            ) as target,
            Baresip(gateway, "caller", transport="udp", codec=mine, play=SOUND, direct=method == "refer") as caller,
        ):
            caller.dial("700")
            target.wait_for("CALL_ESTABLISHED", 20.0)
            wait_until(lambda: False, TALK)
            caller.command("hangup")
            target.wait_for("CALL_CLOSED", 10.0)
            soon = wait_until(lambda: gateway.records("cdr"), 10.0)
            self.assertTrue(soon, gateway.log[-3000:])
        [record] = gateway.records("cdr")
        [transfer] = record["transfers"]
        if method == "refer":  # each telephone wrote down several calls, or none of ours
            return transfer["result"], 1.0, 1.0
        return transfer["result"], recognised(target.said, caller.heard), recognised(caller.said, target.heard)

    def test_bridged(self) -> None:
        """Different codecs, and SRTP on the target's side: each hears the other."""
        for codecs, encryption in ((("PCMU", "PCMU"), ""), (("G722", "PCMA"), "srtp-mand")):
            result, at_caller, at_target = self.transferred("invite", codecs=codecs, encryption=encryption)
            self.assertEqual(result, "bridged")
            self.assertGreater(min(at_caller, at_target), HEARD, (codecs, at_caller, at_target))

    def test_moved_by_itself(self) -> None:
        """baresip takes the REFER, calls the other telephone itself and says so; we are out of it."""
        result, _, _ = self.transferred("refer", codecs=("PCMU", "PCMU"))
        self.assertIn(result, ("transferred", "accepted_unconfirmed"))
