"""YAML into records: spelling kept, places told, secrets never."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from attrs import field, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import ConfigError, Where
from stellar_gw.loading import NOWHERE, Place, Problems, References, Structure, parse, read_file, rules
from stellar_gw.loading.documents import MAX_DEPTH, MAX_FILE, MAX_NODES, decode

PROFILE = settings(max_examples=300, derandomize=True, deadline=None)


HERE = Where("", 0)


@frozen(kw_only=True)
class Account:
    password: Annotated[str, rules.Password()] = field(repr=False)
    tls: bool = False
    allowed: tuple[Annotated[IPv4Network | IPv6Network, rules.Network()], ...] = ()
    expires: Annotated[float, rules.Seconds(1, 7200)] = 600.0
    srtp: Literal["off", "sdes", "dtls"] = "off"
    where: Where = HERE


@frozen(kw_only=True)
class Site:
    domain: str
    calls: Annotated[int, rules.Whole(0, 500)] = 0
    accounts: dict[str, Account] = field(factory=dict)
    notes: dict[str, str] = field(factory=dict)
    key: Annotated[str, rules.FilePath()] = ""
    place: Place = NOWHERE


def load(text: str, folder: str = "/nowhere", **environ: str) -> tuple[Site, References, Problems]:
    problems = Problems("site.yaml")
    references = References(Path(folder), environ)
    return Structure(references, problems).read(parse(text, problems), Site), references, problems


class LoadingTestCase(SynchronousTestCase):
    def refused(self, text: str, folder: str = "/nowhere", **environ: str) -> tuple[str, ...]:
        """The problems of a text that must not load."""
        error: ConfigError = self.assertRaises(ConfigError, load, text, folder, **environ)
        return error.problems


class SpellingTests(LoadingTestCase):
    def test_scalars_keep_their_spelling(self) -> None:
        """What YAML 1.1 would make numbers, booleans and octals of stays text where text is wanted."""
        texts = ("+31201234567", "0123456", "no", "1:30", "0x1f", "null", "~", "")
        notes = dict(zip("abcdefgh", texts, strict=True))
        text = "domain: yes\nnotes: {" + ", ".join(f"{key}: {value}" for key, value in notes.items()) + "}\n"
        site, _, _ = load(text)
        self.assertEqual((site.domain, site.notes), ("yes", notes))

    def test_the_target_type_decides(self) -> None:
        """The same kinds of text become a whole number, a duration, a flag, a network and a choice."""
        site, _, _ = load(
            "domain: example.com\ncalls: 40\naccounts:\n"
            "  pbx: {password: letmein99, tls: Yes, allowed: [10.1.0.0/16, '::ffff:10.2.0.1'],\n"
            "    expires: 1h30m, srtp: dtls}\n"
        )
        self.assertEqual(
            site,
            Site(
                domain="example.com",
                calls=40,
                accounts={
                    "pbx": Account(
                        password="letmein99",
                        tls=True,
                        allowed=(IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.1/32")),
                        expires=5400.0,
                        srtp="dtls",
                        where=Where("site.yaml", 4),
                    )
                },
                place=site.place,
            ),
        )

    def test_an_empty_key_means_its_default(self) -> None:
        """A key whose entries are all commented out is as good as absent, but not where it is required."""
        site, _, _ = load("domain: example.com\naccounts:\n  # pbx: {password: x}\ncalls:\n")
        self.assertEqual((site.accounts, site.calls), ({}, 0))
        self.assertEqual(self.refused("domain:\n"), ("site.yaml:1: domain: is empty",))

    def test_durations(self) -> None:
        """Units add up, a bare number is seconds, and what is written for people is read back the same."""
        read = rules.Seconds(0, 1e9).read
        self.assertEqual(
            [read(each) for each in ("90", "0.5", "90s", "2h", "1h30m", "500ms", "1d", "1m0.25s")],
            [90.0, 0.5, 90.0, 7200.0, 5400.0, 0.5, 86400.0, 60.25],
        )
        for wrong in ("", "h", "2 h", "-1", "1e3", "5parsecs", "30s2h", "٣", "inf", "nan"):
            self.assertRaises(ValueError, read, wrong)
        for seconds in (0.0, 0.5, 1.5, 59.0, 60.0, 90.0, 3600.0, 86400.0):
            self.assertEqual(read(rules.duration(seconds)), seconds)

    def test_whole_numbers(self) -> None:
        """Decimal digits only: no sign, no leading zero (it would be octal to YAML), no other alphabet's digits."""
        read = rules.Whole(0, 100).read
        self.assertEqual([read("0"), read("100")], [0, 100])
        for wrong in ("", "007", "+1", "-1", "1.0", "101", "1_0", "٣", " 1"):
            self.assertRaises(ValueError, read, wrong)

    def test_addresses(self) -> None:
        """Hosts and ports, IPv6 in brackets; canonical, mapped addresses folded."""
        bind, advertise = rules.HostPort().read, rules.HostPort(names=True, port=0).read
        self.assertEqual(bind("0.0.0.0:5060"), ("0.0.0.0", 5060))
        self.assertEqual(bind("[2001:DB8:0::1]:5061"), ("2001:db8::1", 5061))
        self.assertEqual(bind("[::ffff:127.0.0.1]:0"), ("127.0.0.1", 0))
        self.assertEqual(advertise("203.0.113.10"), ("203.0.113.10", 0))
        self.assertEqual(advertise("SBC.Example.COM:5062"), ("sbc.example.com", 5062))
        self.assertEqual([advertise("2001:db8::1"), advertise("[2001:db8::1]")], [("2001:db8::1", 0)] * 2)
        for wrong in ("5060", "127.0.0.1", "localhost:5060", "::1:5060", "1.2.3.4:65536", "1.2.3:5", ":5060"):
            self.assertRaises(ValueError, bind, wrong)
        for wrong in ("", "1.2.3.400", "a b", "a..b", "-a.example", "x:y:z"):
            self.assertRaises(ValueError, advertise, wrong)

    def test_networks(self) -> None:
        """Mapped ranges are IPv4 ranges; everybody is nobody's address; a crooked range says what was meant."""
        read = rules.Network().read
        self.assertEqual(read("::ffff:10.0.0.0/104"), IPv4Network("10.0.0.0/8"))
        self.assertEqual(read("2001:db8::/32"), IPv6Network("2001:db8::/32"))
        for everybody in ("0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"):
            self.assertIn("everybody", str(self.assertRaises(ValueError, read, everybody)))
        self.assertEqual(
            str(self.assertRaises(ValueError, read, "198.51.100.20/24")),
            "is '198.51.100.20/24', which begins inside its range; "
            "write 198.51.100.0/24 for the range or 198.51.100.20 for the address",
        )

    def test_port_ranges(self) -> None:
        """Pairs of ports: the range shrinks to an even first and an odd last one."""
        read = rules.Ports().read
        self.assertEqual(read("10000-20000"), (10000, 19999))
        self.assertEqual(read("10001-10004"), (10002, 10003))
        for wrong in ("10000", "20000-10000", "80-90", "10001-10002", "a-b", "60000-70000"):
            self.assertRaises(ValueError, read, wrong)


class ErrorTests(LoadingTestCase):
    def test_every_problem_is_told_in_file_order(self) -> None:
        """One pass tells all: place, key path, what it is, and what it must be."""
        self.assertEqual(
            self.refused(
                "calls: many\n"
                "accounts:\n"
                "  pbx: {password: letmein99, tls: 3, srtp: maybe, expires: 3h}\n"
                "  pbx: {password: letmein99}\n"
                "  lab:\n"
                "    pasword: letmein99\n"
                "    allowed: [10.0.0.0/8, ten]\n"
                "acounts: {}\n"
                "colour: red\n"
            ),
            (
                "site.yaml:1: calls: is 'many', must be a whole number from 0 to 500",
                "site.yaml:1: domain: is missing",
                "site.yaml:3: accounts.pbx.tls: is '3', must be true or false",
                "site.yaml:3: accounts.pbx.expires: is '3h', must be a duration from 1s to 2h, such as 90s or 1h30m",
                "site.yaml:3: accounts.pbx.srtp: is 'maybe', must be off, sdes or dtls",
                "site.yaml:4: accounts.pbx: given twice, first in line 3; keep one",
                "site.yaml:5: accounts.lab.password: is missing",
                "site.yaml:6: accounts.lab: unknown key 'pasword'; did you mean 'password'?",
                "site.yaml:7: accounts.lab.allowed[1]: is 'ten', "
                "must be an IP address or a range such as 198.51.100.0/24",
                "site.yaml:8: unknown key 'acounts'; did you mean 'accounts'?",
                "site.yaml:9: unknown key 'colour'; there are domain, calls, accounts, notes, key",
            ),
        )

    def test_wrong_shapes(self) -> None:
        """A list for a mapping, a mapping for a list, a value for either: each is named, none is quoted."""
        self.assertEqual(
            self.refused("domain: [a]\naccounts: [a]\nnotes: hunter2hunter2\n"),
            (
                "site.yaml:1: domain: is a list, must be a text without line breaks or control characters",
                "site.yaml:2: accounts: is a list, must be a mapping of names",
                "site.yaml:3: notes: is a single value, must be a mapping of names",
            ),
        )
        self.assertEqual(
            self.refused("domain: a\naccounts:\n  a: hunter2hunter2\n  b: {password: letmein99, allowed: 10.0.0.1}\n"),
            (
                "site.yaml:3: accounts.a: is a single value, must be a mapping with the keys "
                "password, tls, allowed, expires or srtp",
                "site.yaml:4: accounts.b.allowed: is a single value, must be a list, such as [one, two]",
            ),
        )

    def test_what_yaml_offers_and_we_refuse(self) -> None:
        """Aliases, anchors, tags, merge keys, second documents and keys that are no text."""
        for text, problem in (
            ("domain: &a x", "site.yaml:1: anchors (&name) are not supported: write the value out"),
            ("domain: *a", "site.yaml:1: aliases (*name) are not supported: write the value out"),
            (
                "domain: !!str x",
                "site.yaml:1: tags (!name) are not supported; a value that begins with ! must be in quotes",
            ),
            ("\n<<: {domain: x}", "site.yaml:2: merge keys (<<) are not supported: write the keys out"),
            ("domain: x\n---\ndomain: y", "site.yaml:2: a second YAML document begins here; a configuration is one"),
            ("[a]: b", "site.yaml:1: a key must be a single value, not a list or a mapping"),
            ("- a", "site.yaml:1: the file must be a mapping, not a list"),
            ("just words", "site.yaml:1: the file must be a mapping, as in 'domain: sip.example.com'"),
            ("domain: \x01", "site.yaml:1: holds a control character, which YAML forbids"),
            ("a: [b", "site.yaml:2: is not YAML: did not find expected ',' or ']'"),
            (
                "accounts:\n  a: {password: ${cred:a}}\n",
                "site.yaml:2: is not YAML: did not find expected ',' or '}'; "
                'put ${...} in quotes, as in "${cred:name}"',
            ),
        ):
            self.assertEqual(self.refused(text), (problem,), text)

    def test_bounds(self) -> None:
        """Depth, number of values, length of keys and of the file are bounded."""
        deep = "domain: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH
        self.assertEqual(self.refused(deep), (f"site.yaml:1: nested more than {MAX_DEPTH} deep",))
        many = "domain: [" + "a," * MAX_NODES + "]"
        self.assertEqual(self.refused(many), (f"site.yaml:1: more than {MAX_NODES} values",))
        self.assertEqual(self.refused(f"? {'k' * 300}\n: v"), ("site.yaml:1: a key is longer than 256 characters",))
        error = self.assertRaises(ConfigError, decode, b"#" * (MAX_FILE + 1), "site.yaml")
        self.assertEqual(error.problems, (f"site.yaml: is longer than {MAX_FILE} octets",))

    def test_too_many_problems_are_counted(self) -> None:
        """The first fifty are told, the rest counted."""
        problems = self.refused("".join(f"k{number}: x\n" for number in range(60)))
        self.assertEqual((len(problems), problems[-1]), (51, "site.yaml: and 11 more"))

    def test_files_that_cannot_be_read(self) -> None:
        """A missing file, a folder and what is not UTF-8 say so by name."""
        folder = self.mktemp()
        os.mkdir(folder)
        latin = Path(folder, "latin.yaml")
        latin.write_bytes(b"domain: x\nnote: caf\xe9\n")
        for path, problem in (
            (f"{folder}/none.yaml", f"{folder}/none.yaml: cannot be read: No such file or directory"),
            (folder, f"{folder}: cannot be read: Is a directory"),
            (str(latin), f"{latin}:2: is not UTF-8 text"),
        ):
            self.assertEqual(self.assertRaises(ConfigError, read_file, path).problems, (problem,))

    def test_terminals_are_safe(self) -> None:
        """Control characters of a file are shown as escapes, and long texts are cut."""
        self.assertEqual(
            self.refused('domain: x\ncalls: "\\e[2J' + "x" * 99 + '"'),
            ("site.yaml:2: calls: is '\\x1b[2J" + "x" * 56 + "...', must be a whole number from 0 to 500",),
        )


class SecretTests(LoadingTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "pbx").write_text("from-a-credential\n")
        (self.folder / "open").write_text("from-an-open-file")
        (self.folder / "pbx").chmod(0o600)
        (self.folder / "open").chmod(0o644)
        (self.folder / "empty").write_text("\n")

    def password(self, text: str, **environ: str) -> str:
        site, _, _ = load(f"domain: x\naccounts: {{pbx: {{password: '{text}'}}}}", str(self.folder), **environ)
        return site.accounts["pbx"].password

    def test_where_secrets_come_from(self) -> None:
        """A credential of systemd's, a file beside the configuration, a variable; whole or within a text."""
        environ = {"CREDENTIALS_DIRECTORY": str(self.folder), "TOKEN": "from-a-variable"}
        for text, value in (
            ("${cred:pbx}", "from-a-credential"),
            ("${file:pbx}", "from-a-credential"),
            ("Bearer ${env:TOKEN}!", "Bearer from-a-variable!"),
            ("${env:TOKEN}${cred:pbx}", "from-a-variablefrom-a-credential"),
            ("$${env:TOKEN} costs $5", "${env:TOKEN} costs $5"),
        ):
            self.assertEqual(self.password(text, **environ), value)

    def test_paths_are_not_read(self) -> None:
        """Where a file is wanted a reference stands for its path, and a relative one begins at the folder."""
        for text, path in (
            ("${cred:tls.pem}", "/run/credentials/tls.pem"),
            ("${file:tls.pem}", f"{self.folder.absolute()}/tls.pem"),
            ("tls.pem", f"{self.folder.absolute()}/tls.pem"),
            ("/etc/tls.pem", "/etc/tls.pem"),
            ("${env:HERE}/tls.pem", "/here/tls.pem"),
        ):
            site, references, _ = load(
                f"domain: x\nkey: '{text}'", str(self.folder), CREDENTIALS_DIRECTORY="/run/credentials", HERE="/here"
            )
            self.assertEqual((site.key, references.secrets), (path, frozenset()))

    def test_references_that_lead_nowhere(self) -> None:
        """Each says its own name and what to do."""
        environ = {"CREDENTIALS_DIRECTORY": str(self.folder), "EMPTY": ""}
        start = "site.yaml:2: accounts.pbx.password: "
        for text, problem in (
            (
                "${cred:none}",
                "${cred:none} cannot be read: No such file or directory; "
                "is there a LoadCredential=none: line in the unit?",
            ),
            (
                "${cred:../pbx}",
                "${cred:../pbx} is not the name of a credential (letters, digits, . _ -)",
            ),
            ("${file:empty}", "${file:empty} is empty"),
            ("${file:/dev/zero}", "${file:/dev/zero} is not a regular file"),
            ("${env:NONE}", "${env:NONE} is not set in the environment"),
            ("${env:EMPTY}", "${env:EMPTY} is empty"),
            (
                "${vault:a}",
                "'${' must begin ${cred:name}, ${file:path} or ${env:NAME}; write $${ for the characters",
            ),
            (
                "pa${ss",
                "'${' must begin ${cred:name}, ${file:path} or ${env:NAME}; write $${ for the characters",
            ),
        ):
            found = self.refused(f"domain: x\naccounts: {{pbx: {{password: '{text}'}}}}", str(self.folder), **environ)
            self.assertEqual(found, (start + problem,))
        self.assertEqual(
            self.refused("domain: x\naccounts: {pbx: {password: '${cred:pbx}'}}"),
            (
                start + "${cred:pbx} needs $CREDENTIALS_DIRECTORY, which is not set: write LoadCredential=pbx:/path "
                "in the unit, or name a folder with a file pbx in it",
            ),
        )

    def test_what_is_kept_for_redaction(self) -> None:
        """Passwords however they are written, and whatever came from a file; not what is public."""
        environ = {"CREDENTIALS_DIRECTORY": str(self.folder), "TOKEN": "from-a-variable", "PLACE": "Amsterdam"}
        _, references, _ = load(
            "domain: '${env:PLACE}'\nnotes: {a: '${cred:pbx}'}\n"
            "accounts: {a: {password: 'x${env:TOKEN}'}, b: {password: letmein99}}",
            str(self.folder),
            **environ,
        )
        self.assertEqual(references.secrets, {"from-a-credential", "from-a-variable", "letmein99"})

    def test_files_that_anybody_can_read_are_noted(self) -> None:
        """A ${file:} secret of mode 0644 is remembered for a warning, one of 0600 is not."""
        _, references, _ = load("domain: x\nnotes: {a: '${file:open}', b: '${file:pbx}'}", str(self.folder))
        self.assertEqual(references.readable_by_all, ["${file:open}"])

    def test_no_secret_shows(self) -> None:
        """Wherever a password is put wrongly, no error holds it, however short or long it is."""
        for text in (
            "domain: x\naccounts: {pbx: {password: hunter2}}",
            "domain: x\naccounts: {pbx: {password: [hunter2]}}",
            "domain: x\naccounts: {pbx: {hunter2}}",
            "domain: x\naccounts: {pbx: hunter2}",
            "domain: x\naccounts: hunter2",
            "domain: x\naccounts: {pbx: {password: *hunter2}}",
            "domain: x\naccounts: {pbx: {password: !hunter2}}",
            "domain: x\naccounts: {pbx: {password: !hunter2!x y}}",
            "domain: x\naccounts: {pbx: {password: &hunter2 }}",
            "domain: x\naccounts: {pbx: {password: 'hunter2}}",
            "domain: x\naccounts: {pbx: {password: %hunter2}}",
            'domain: x\naccounts: {pbx: {password: "\\hunter2"}}',
            'domain: x\naccounts: {pbx: {password: "hunter2\\n with a line break"}}',
            "domain: x\naccounts: {pbx: {password: '${env:SECRET}'}}",
            "domain: x\naccounts: {pbx: {password: letmein99, expires: '${env:SECRET}'}}",
            "domain: x\naccounts: {pbx: {password: letmein99, allowed: ['${env:SECRET}/8']}}",
            "domain: x\naccounts: {pbx: {password: letmein99, srtp: '${env:SECRET}'}}",
        ):
            problems = self.refused(text, SECRET="hunter2")
            self.assertNotIn("hunter2", "\n".join(problems), text)

    def test_records_do_not_show_passwords(self) -> None:
        """The repr of a record leaves them out."""
        site, _, _ = load("domain: x\naccounts: {pbx: {password: letmein99}}")
        self.assertNotIn("letmein99", repr(site))


class AnythingTests(SynchronousTestCase):
    """Whatever stands in a file, the answer is a record or a ConfigError."""

    def load(self, data: bytes) -> None:
        try:
            load(decode(data, "site.yaml"))
        except ConfigError as error:
            self.assertTrue(error.problems)
            for problem in error.problems:
                self.assertTrue(problem.startswith("site.yaml"), problem)
                self.assertTrue(problem.isprintable(), problem)

    @PROFILE
    @given(st.binary(max_size=200))
    @example(b"\xff")
    @example(b"\xef\xbb\xbfdomain: x")
    @example(b"%YAML 9.9\n---\na: b")
    @example(b"a: |\n\tb")
    @example("a: \x85\u2028b".encode())
    def test_octets(self, data: bytes) -> None:
        """Random octets."""
        self.load(data)

    @PROFILE
    @given(st.text(alphabet="abdomin:,-?!&*|>%@`'\"#{}[]<$ \n\t~0.", max_size=80))
    def test_punctuation(self, text: str) -> None:
        """Texts of YAML's own punctuation."""
        self.load(text.encode())

    @PROFILE
    @given(st.data())
    def test_mutations(self, data: st.DataObject) -> None:
        """A good file with a few octets cut, put in or changed."""
        good = bytearray(
            b"domain: sip.example.com\ncalls: 40\nkey: tls.pem\nnotes: {a: 'b'}\naccounts:\n"
            b"  pbx: {password: letmein99, tls: yes, allowed: [10.1.0.0/16], expires: 1h30m, srtp: dtls}\n"
        )
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(good) - 1))
            good[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=4))
        self.load(bytes(good))
