"""TwiML is read as far as it is carried out, and nothing in it can hurt."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.twiml import (
    MAX_OCTETS,
    Dial,
    Hangup,
    PassedOver,
    Play,
    Refer,
    Reject,
    Stream,
    TwimlError,
    Verb,
    parse,
)


def response(verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{verbs}</Response>'


class VerbTests(SynchronousTestCase):
    def test_every_verb(self) -> None:
        """Each form of each verb, as Twilio's documentation writes them."""
        told: dict[str, Verb] = {
            '<Connect><Stream url="wss://a.example/?y=1"><Parameter name="who" value="A &amp; B"/></Stream></Connect>':
                Stream("wss://a.example/?y=1", (("who", "A & B"),)),
            '<Connect action="/after"><Stream url="ws://127.0.0.1:1/"/></Connect>': Stream("ws://127.0.0.1:1/"),
            "<Dial>+31 20 123-45.67</Dial>": Dial("+31201234567"),
            '<Dial timeout="5"><Number>+31201234567</Number></Dial>': Dial("+31201234567", 5),
            "<Dial><Sip>sip:kate@example.com:5080;transport=tls?X-Case=a%20b&amp;X-Who=Ann</Sip></Dial>":
                Dial("sip:kate@example.com:5080;transport=tls", 30, (("X-Case", "a b"), ("X-Who", "Ann"))),
            "<Refer><Sip>\n sip:200@pbx.example\n</Sip></Refer>": Refer("sip:200@pbx.example"),
            '<Play digits="ww12#AW"/>': Play("ww12#AW"),
            "<Hangup/>": Hangup(),
            "<Reject/>": Reject(),
            '<Reject reason="busy"/>': Reject(busy=True),
            '<Say voice="alice">One moment</Say>': PassedOver("Say"),
            '<Pause length="1"/>': PassedOver("Pause"),
        }  # fmt: skip
        self.assertEqual({text: parse(response(text)) for text in told}, {text: (verb,) for text, verb in told.items()})

    def test_verbs_in_order(self) -> None:
        """Several verbs are told in the order they are written; no verb is no verb."""
        self.assertEqual(
            parse(response("<Say>Bye</Say><!-- then --><Hangup/>").encode()), (PassedOver("Say"), Hangup())
        )
        self.assertEqual(parse(response("")), ())

    def test_what_is_refused(self) -> None:
        """Every document that is not carried out whole says why, in one line."""
        told = {
            "": "the TwiML is not XML: no element found, line 1",
            "<Response>": "the TwiML is not XML: no element found, line 1",
            "<Rsponse/>": "the TwiML's outermost element is <Rsponse>, must be <Response>",
            response("hello"): "there is text in <Response> outside of any verb",
            response("<Gather/>"): "<Gather> is not done here; there are Connect, Dial, Hangup, Play, Refer and Reject",
            response("<Connect/>"): "<Connect> must hold one <Stream>, and holds nothing",
            response("<Connect><Room/></Connect>"): "<Connect> must hold one <Stream>, and holds <Room>",
            response('<Connect><Stream url="/x"/></Connect>'): "url of <Stream> must begin with wss:// or ws://",
            response('<Connect><Stream url="wss://a" track="both_tracks"/></Connect>'):
                "track of a <Stream> in <Connect> can only be inbound_track",
            response('<Connect><Stream url="wss://a"><Parameter value="1"/></Stream></Connect>'):
                "<Stream> holds <Parameter name value> and nothing else",
            response("<Dial/>"): "<Dial> must hold a phone number such as +31201234567, or <Sip>",
            response("<Dial><Sip>tel:+31</Sip></Dial>"): "<Sip> must hold a URI such as sip:name@host",
            response("<Dial><Sip>sip:a@b</Sip><Number>1234</Number></Dial>"):
                "<Dial> can call one number or <Sip> here, not several",
            response('<Dial timeout="300000"><Sip>sip:a@b</Sip></Dial>'): "timeout of <Dial> must be 1 to 600 seconds",
            response("<Refer><Sip>sip:a@b?Route=x</Sip></Refer>"):
                "the URI in <Sip> can only ask for X-* headers with printable values",
            response("<Refer><Sip>sip:a@b?X-A=%0d%0aVia:x</Sip></Refer>"):
                "the URI in <Sip> can only ask for X-* headers with printable values",
            response("<Play>http://x.example/a.wav</Play>"): "<Play> knows digits here, and no files",
            response('<Play digits="12E"/>'): "digits of <Play> are 0-9, *, #, A-D, w and W, at most 64",
            response('<Reject reason="tired"/>'): "reason of <Reject> must be rejected or busy",
        }  # fmt: skip
        self.assertEqual({text: refusal(text) for text in told}, told)

    def test_hostile_documents(self) -> None:
        """No entity is ever expanded, no document type read, and neither depth, number nor length goes far."""
        doctype = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b SYSTEM "file:///etc/passwd">]><Response>&a;&b;</Response>'
        deep = response("<Dial><Sip>" + "<a>" * 1000 + "</a>" * 1000 + "</Sip></Dial>")
        self.assertEqual(
            [
                refusal(doctype),
                refusal("<Response>&nbsp;</Response>"),
                refusal(deep),
                refusal(response("<Hangup/>" * 1000)),
                refusal(response(" " * MAX_OCTETS)),
                refusal(b'<?xml version="1.0" encoding="ebcdic-nowhere"?><Response/>'),
            ],
            [
                "the TwiML has a document type, which is not allowed",
                "the TwiML is not XML: undefined entity, line 1",
                "<a> is nested deeper than any verb needs",
                "the TwiML has more than 200 elements",
                f"the TwiML is longer than {MAX_OCTETS} octets",
                "the TwiML names an encoding that is not known; write UTF-8",
            ],
        )

    @given(
        st.one_of(
            st.binary(max_size=200), st.text(max_size=200).map(lambda text: response(text).encode("utf-8", "replace"))
        )
    )
    @settings(max_examples=300, deadline=None, derandomize=True)
    def test_whatever_comes(self, document: bytes) -> None:
        """Any octets are verbs or a TwimlError of one line, and nothing else."""
        try:
            self.assertIsInstance(parse(document), tuple)
        except TwimlError as error:
            self.assertEqual(len(str(error).splitlines()), 1)


def refusal(document: str | bytes) -> str:
    try:
        return f"taken: {parse(document)}"
    except TwimlError as error:
        return str(error)
