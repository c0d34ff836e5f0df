"""A real registrar and proxy on loopback: Kamailio, which forwards calls to whoever is registered."""

from __future__ import annotations

from pathlib import Path

from tests.integration.kamailio_support import Kamailio

CONFIGURATION = """\
#!KAMAILIO
debug=2
log_stderror=yes
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


class Registrar(Kamailio):
    """Takes registrations of its domain with one password for all.

    :param transport: the only one it speaks; for TLS ``registrar.pem`` and ``ca.pem`` lie in the folder.
    """

    def __init__(
        self, folder: Path, host: str, port: int, *, transport: str = "udp", domain: str, password: str = "secret"
    ) -> None:
        self.host, self.port = host, port
        text = CONFIGURATION.replace("@tls", TLS if transport == "tls" else "")
        words = {
            "@transport": transport, "@host": host, "@port": str(port), "@domain": domain, "@password": password,
            "@no_tcp": "yes" if transport == "udp" else "no", "@folder": str(folder.absolute()),
        }  # fmt: skip
        for place, word in words.items():
            text = text.replace(place, word)
        super().__init__(folder, text, [f"{transport}:{host}:{port}"])
