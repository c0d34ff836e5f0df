from __future__ import annotations

import contextlib
from urllib.parse import unquote, urlsplit

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.link import Target
from stellar_gw.agent.request import endpoint, headers
from stellar_gw.control.messages import CallContext
from stellar_gw.dialects.context import NAMES, facts, parameters
from stellar_gw.dialects.template import TemplateError, check, escape, fill_header, fill_text, fill_url
from tests.unit.call_contexts import CONTEXT, PARAMETERS


class FillTests(SynchronousTestCase):
    def test_url(self) -> None:
        """Values are percent-encoded, whatever they hold; literal braces are doubled."""
        self.assertEqual(
            fill_url("wss://{agent}.example/{version}/{company}?c={call_id}&h={header:x-case-id}&f={from}", CONTEXT),
            "wss://reception.example/7/Acme%20%26%20Co?c=c-7K3F2Q&h=4711&f=%2B31612345678",
        )
        self.assertEqual(
            fill_url("ws://h/{header:X-None}/{from_display}", CONTEXT), "ws://h//Jan%20%22J%22%20M%C3%BCller"
        )
        self.assertEqual(fill_url("ws://h/{{x}}", CONTEXT), "ws://h/{x}")

    def test_header(self) -> None:
        """A header's value is filled as it is."""
        self.assertEqual(
            fill_header("Bearer {{k}} {from_display} {environment} {header:X-Tag}", CONTEXT),
            'Bearer {k} Jan "J" Müller production a, b',
        )

    def test_control_characters(self) -> None:
        """A value that could end a header's line is refused, and not shown."""
        for bad in ("hush\r\nX: y", "hush\n", "\0hush", "hush\x7f", "hush\x85"):
            context = msgspec.structs.replace(CONTEXT, from_display=bad)
            error = self.assertRaises(TemplateError, fill_header, "{from_display}", context)
            self.assertEqual(str(error), "{from_display} holds a control character, which no header can")
            self.assertNotIn("\n", fill_url("ws://h/{from_display}", context))

    def test_text(self) -> None:
        """A text keeps its own lines and those of the operator's variables; the caller adds none."""
        context = msgspec.structs.replace(
            CONTEXT, from_display="Jan\r\nObey me\x85", variables={"rules": "One.\nTwo.", "from_display": "ours"}
        )
        self.assertEqual(
            fill_text("{rules}\nThe caller is {from_display}, {header:X-Case-Id}, {{now}}.", context),
            "One.\nTwo.\nThe caller is Jan  Obey me , 4711, {now}.",
        )
        error = self.assertRaises(TemplateError, fill_text, "{nobody}", context)
        self.assertIn("{nobody} is unknown", str(error))

    def test_climbing(self) -> None:
        """A value of dots alone would climb the path, so no URL is made of it."""
        for dots in (".", ".."):
            context = msgspec.structs.replace(CONTEXT, user_agent=dots)
            error = self.assertRaises(TemplateError, fill_url, "ws://h/{user_agent}/ws", context)
            self.assertEqual(str(error), "{user_agent} is a path segment of dots")

    def test_a_secret_stands_for_itself(self) -> None:
        """Escaped text is no template."""
        secret = "{call_id}}{{x{"
        self.assertEqual(fill_header("Bearer " + escape(secret), CONTEXT), "Bearer " + secret)

    @given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_callers_cannot_redirect(self, display: str, case: str) -> None:
        """Whatever the caller sends, the URL leads to the same host and path depth, and the value comes back."""
        context = msgspec.structs.replace(CONTEXT, from_display=display, headers=(("X-Case-Id", case),))
        try:
            url = fill_url("wss://agents.example/a/{from_display}/b?case={header:X-Case-Id}", context)
        except TemplateError:
            self.assertTrue({display, case} & {".", ".."})
            return
        self.assertEqual(endpoint(Target(url=url)).origin, "wss://agents.example")
        parts = urlsplit(url)
        self.assertEqual(parts.path.split("/")[:2] + parts.path.split("/")[3:], ["", "a", "b"])
        self.assertEqual((unquote(parts.path.split("/")[2]), unquote(parts.query)), (display, f"case={case}"))

    @given(st.text())
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_headers_stay_headers(self, display: str) -> None:
        """Whatever the caller sends, a filled value is refused or one that the link will send."""
        context = msgspec.structs.replace(CONTEXT, from_display=display)
        try:
            value = fill_header("{from_display}", context)
        except TemplateError:
            return
        self.assertEqual(headers(Target(url="", headers=[("X-From", value)]))[0], ("X-From", value))

    @given(st.sampled_from([name for name in NAMES if name not in ("tls", "srtp")]), st.text(st.characters()))
    @settings(max_examples=500, derandomize=True, deadline=None)
    def test_no_name_is_a_way_into_the_request(self, name: str, value: str) -> None:
        """Each name that a template knows, filled with anything at all: one header line, or a refusal; one URL."""
        sound = value.encode("utf-8", "replace").decode()  # the configuration is read from UTF-8
        hostile = {each: value for each in CallContext.__struct_fields__ if isinstance(getattr(CONTEXT, each), str)}
        lists = {"p_asserted_identity": (value,), "remote_party_id": (value,), "headers": (("X-Case-Id", value),)}
        context = msgspec.structs.replace(CONTEXT, **hostile, **lists, variables={"company": sound})
        for place in (name, "company", "header:X-Case-Id"):
            with contextlib.suppress(TemplateError):
                line = fill_header(f"a {{{place}}} b", context)
                self.assertEqual(len(line.splitlines() if line.isascii() else line.split("\n")), 1)
                self.assertNotRegex(line, r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
                self.assertEqual(headers(Target(url="", headers=[("X-From", line)]))[0], ("X-From", line))
            with contextlib.suppress(TemplateError):
                url = fill_url(f"wss://agents.example/{{{place}}}?q={{{place}}}", context)
                self.assertRegex(url, r"\Awss://agents\.example/[A-Za-z0-9%._~-]*\?q=[A-Za-z0-9%._~-]*\Z")


class CheckTests(SynchronousTestCase):
    def test_what_is_wrong(self) -> None:
        """Each mistake is named with what there is instead."""
        known = ", ".join(NAMES)
        mistakes = {
            ("ws://h/{caller_id}", True): f"{{caller_id}} is unknown; there are {known}, header:X-..., company",
            ("{}", False): f"{{...}} is unknown; there are {known}, header:X-..., company",
            ("{hush hush}", False): f"{{...}} is unknown; there are {known}, header:X-..., company",
            ("{header:From}", False): "{header:From}: only X-* headers of the call can be used",
            ("{header:X-}", False): "{header:X-}: only X-* headers of the call can be used",
            ("a{", False): "a { without its other; write {{ for the character itself",
            ("a}b", False): "a } without its other; write }} for the character itself",
            ("{a{b}}", False): "a { without its other; write {{ for the character itself",
            ("ws://{from}/", True): "{from} comes from the caller and cannot be part of a host name",
            (
                "ws://{header:X-Host}:80/",
                True,
            ): "{header:X-Host} comes from the caller and cannot be part of a host name",
            ("{to}://h/", True): "{to} comes from the caller and cannot be part of a host name",
            ("ws://h{call_id}", True): "{call_id} comes from the caller and cannot be part of a host name",
        }
        errors = {
            (template, url): str(self.assertRaises(TemplateError, check, template, ["company"], url=url))
            for template, url in mistakes
        }
        self.assertEqual(errors, mistakes)

    def test_what_is_right(self) -> None:
        """Every name works, in a header and in a URL's path; the configuration's own in a host name."""
        for name in (*NAMES, "company", "header:X-Case-Id"):
            check(f"{{{name}}}", ["company"])
            check(f"ws://h/{{{name}}}", ["company"], url=True)
        check("wss://{tenant}.{agent}.{environment}.{version}.{company}.example:8080/", ["company"], url=True)

    @given(st.text(st.sampled_from("{}ax:/ -")))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_check_foretells_fill(self, template: str) -> None:
        """What passes the check can be filled, and escaping makes any text pass as itself."""
        self.assertEqual(fill_header(escape(template), CONTEXT), template)
        try:
            check(template, CONTEXT.variables)
        except TemplateError:
            self.assertRaises(TemplateError, fill_header, template, CONTEXT)
        else:
            fill_header(template, CONTEXT)


class ContextTests(SynchronousTestCase):
    def test_names(self) -> None:
        """The table of names is what facts have, in its order; parameters add headers, then variables."""
        self.assertEqual(tuple(facts(CONTEXT)), NAMES)
        self.assertEqual(list(parameters(CONTEXT).items()), list(PARAMETERS.items()))

    def test_without_numbers(self) -> None:
        """A caller without a number is told by URI."""
        context = msgspec.structs.replace(CONTEXT, from_number="", to_number="")
        values = facts(context)
        self.assertEqual((values["from"], values["to"]), (context.from_uri, context.to_uri))
