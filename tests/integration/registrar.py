"""A real registrar and proxy on loopback: Kamailio, which forwards calls to whoever is registered."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from stellar_gw.testing.gateway_process import wait_until

MISSING = "" if shutil.which("kamailio") else "kamailio is not installed: tools/peers.sh installs it"

CONFIGURATION = """\
#!KAMAILIO
debug=2
log_stderror=yes
fork=no
children=1
tcp_children=1
disable_tcp=@no_tcp
auto_aliases=no
listen=@transport:@host:@port
alias="@domain"
@tls
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "tmx.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "xlog.so"
loadmodule "nathelper.so"
modparam("nathelper|registrar", "received_avp", "$avp(RECEIVED)")
modparam("registrar", "max_expires", 120)
modparam("usrloc", "db_mode", 0)
request_route {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (has_totag()) {
        if (loose_route() || (is_method("ACK") && t_check_trans())) { t_relay(); exit; }
        if (!is_method("ACK")) { sl_send_reply("404", "No"); }
        exit;
    }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    if (is_method("OPTIONS")) { xlog("L_ERR", "asked by OPTIONS from $ct\\n"); sl_send_reply("200", "OK"); exit; }
    if (is_method("REGISTER")) {
        if (!pv_www_authenticate("@domain", "@password", "0")) { www_challenge("@domain", "0"); exit; }
        xlog("L_ERR", "registers $fU at $ct\\n");
        fix_nated_register();  # calls go where the registration came from
        save("location");
        exit;
    }
    if (!is_method("INVITE")) { sl_send_reply("405", "No"); exit; }
    if (!lookup("location")) { sl_send_reply("480", "Nobody is registered"); exit; }
    record_route();
    t_relay();
}
"""

TLS = """\
enable_tls=yes
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "certificate", "@folder/registrar.pem")
modparam("tls", "private_key", "@folder/registrar.pem")
modparam("tls", "ca_list", "@folder/ca.pem")
modparam("tls", "verify_certificate", 1)
modparam("tls", "require_certificate", 1)
"""


class Registrar:
    """Takes registrations of its domain with one password for all.

    :param transport: the only one it speaks; for TLS ``registrar.pem`` and ``ca.pem`` lie in the folder.
    """

    def __init__(
        self, folder: Path, host: str, port: int, *, transport: str = "udp", domain: str, password: str = "secret"
    ) -> None:
        self.host, self.port, self._transport = host, port, transport
        self._folder = folder.absolute()
        text = CONFIGURATION.replace("@tls", TLS if transport == "tls" else "")
        words = {
            "@transport": transport, "@host": host, "@port": str(port), "@domain": domain, "@password": password,
            "@no_tcp": "yes" if transport == "udp" else "no", "@folder": str(self._folder),
        }  # fmt: skip
        for place, word in words.items():
            text = text.replace(place, word)
        self._path = self._folder / "kamailio.cfg"
        self._path.write_text(text, encoding="utf-8")
        self._log = self._folder / "kamailio.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """:raise RuntimeError: it does not listen within ten seconds."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["kamailio", "-DD", "-E", "-f", str(self._path), "-Y", str(self._folder), "-m", "32", "-M", "4"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        if not wait_until(self._listens, 10.0):
            self.stop()
            raise RuntimeError(self.log[-3000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        """Whether its socket is there, by the kernel's table."""
        table = "udp" if self._transport == "udp" else "tcp"
        return f":{self.port:04X} 00000000:0000" in Path(f"/proc/net/{table}").read_text()
