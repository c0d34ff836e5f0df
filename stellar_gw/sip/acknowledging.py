"""ACKs for 2xx: made by the dialog, kept, and sent again for each 2xx that comes again (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from stellar_gw.sip.dialog import Dialog
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.sender import Sender
from stellar_gw.sip.usage import Acknowledgement, Sending
from stellar_gw.sip.wire import Wire
from stellar_gw.sip.writing import RequestWriter


class Acknowledger:
    """Acknowledges the successes of INVITEs."""

    def __init__(self, wire: Wire, writer: RequestWriter, sender: Sender) -> None:
        self._wire, self._writer, self._sender = wire, writer, sender

    def acknowledge(self, sending: Sending, dialog: Dialog, body: bytes) -> None:
        invite = sending.transaction
        assert invite is not None
        number = invite.request.cseq.number

        def ready(flow: Flow) -> None:
            ack = Sending(
                method="ACK",
                headers=Headers(),
                body=body,
                dialog=dialog,
                uri=dialog.remote_target,
                route_set=dialog.route_set,
                from_=dialog.local,
                to=dialog.remote,
                call_id=dialog.call_id,
                sequence=number,
                flow=flow,
                contact_user=sending.contact_user,
                transaction=invite,
            )
            data = self._writer.write(ack, "ACK", body)[0].to_bytes()
            sending.acks[dialog.remote_tag] = Acknowledgement(data, flow, dialog, body)
            self._wire.send(data, flow)

        # If there is no way, the peer will send its 2xx again, and we look for one again.
        sending.acks[dialog.remote_tag] = Acknowledgement(b"", dialog.flow, dialog, body)
        self._sender.with_flow(dialog, ready, lambda: None)

    def acknowledge_again(self, sending: Sending, tag: str) -> None:
        ack = sending.acks[tag]
        if ack is None:
            return  # the floor above has not given its answer yet
        if ack.data and not self._wire.is_lost(ack.flow):
            self._wire.send(ack.data, ack.flow)
        else:
            self.acknowledge(sending, ack.dialog, ack.body)
