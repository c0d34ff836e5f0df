"""The account of a Twilio agent: under which sid its calls are, and the token that stands for the agent.

``options: {account_sid: ...}`` names it, otherwise each tenant has one of its own; ``secrets: {auth_token: ...}``
lets the agent make REST calls, and signs the webhook requests that it gets.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from stellar_gw.dialects.twilio import account_sid
from stellar_gw.directory.records import Agent, Directory, Environment
from stellar_gw.directory.shapes import EnvironmentShape
from stellar_gw.loading import Problems
from stellar_gw.loading.rules import loopback

AUTH_TOKEN: Final = "auth_token"
SHORTEST_TOKEN: Final = 16
_SID: Final = re.compile("AC[0-9a-f]{32}")


@frozen
class Account:
    """Who makes a REST call: an agent, with its tenant's calls."""

    tenant: str
    agent: str
    sid: str


def account_of(tenant: str, environment: Environment) -> str:
    """The account's sid."""
    return environment.options.get("account_sid") or account_sid(tenant)


def token_of(environment: Environment) -> str:
    """The agent's token; empty where it has none, and so cannot make REST calls."""
    secret = environment.secrets.get(AUTH_TOKEN)
    return secret.value if secret is not None else ""


def find_environment(directory: Directory, tenant: str, agent: str, environment: str) -> Environment | None:
    """An agent's environment, by the names that a call was told; None where it is gone."""
    for each in directory.agents():
        if (each.tenant, each.name) == (tenant, agent):
            return each.environments.get(environment)
    return None


def find_account(directory: Directory, sid: str, token: str) -> Account | None:
    """Whose sid and token these are. Every agent's is compared, in constant time each."""
    found = None
    for agent, environment in _environments(directory):
        known = token_of(environment)
        same = hmac.compare_digest(known.encode(), token.encode("utf-8", "replace"))
        if same and known and account_of(agent.tenant, environment) == sid:
            found = found or Account(agent.tenant, agent.name, sid)
    return found


def _environments(directory: Directory) -> Iterator[tuple[Agent, Environment]]:
    for agent in directory.agents():
        for environment in agent.environments.values():
            if environment.dialect == "twilio":
                yield agent, environment


def check_account(tenant: str, environment: EnvironmentShape, owners: dict[str, str], problems: Problems) -> None:
    """Note what is wrong with an environment's account.

    :param owners: tenant by account sid, of what was checked before; this one's is added.
    """
    place = environment.place
    sid = environment.options.get("account_sid", "")
    if sid:
        where = place.key("options").key("account_sid")
        if not _SID.fullmatch(sid):
            problems.error(where, "must be AC and 32 hexadecimal digits in lower case")
        elif owners.setdefault(sid, tenant) != tenant:
            problems.error(where, f"is an agent's of tenant {owners[sid]} too; an account belongs to one tenant")
    token = environment.secrets.get(AUTH_TOKEN)
    if token is not None and len(token) < SHORTEST_TOKEN:
        problems.error(
            place.key("secrets").key(AUTH_TOKEN),
            f"is {len(token)} characters long, must be {SHORTEST_TOKEN} or more: whoever guesses it can end calls",
        )
    if environment.url.startswith(("http://", "https://")):
        if not token:
            problems.error(
                place.key("url"), f"is a webhook, whose requests are signed: set secrets: {{{AUTH_TOKEN}: ...}}"
            )
        if environment.url.startswith("http://") and not loopback(_host(environment.url)):
            problems.warn(place.key("url"), "is http://: who calls crosses the network in clear; use https://")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
