"""What a policy may say and its author may not have meant: told by ``policy check``, never an error."""

from __future__ import annotations

from collections.abc import Iterator

from fsserver.policy.compiled import Network, Policy


def warnings(policy: Policy) -> Iterator[str]:
    """Each in one sentence, with the place that it is about."""
    for outward in policy.commands.values():
        if outward.network is not Network.FULL:
            continue
        for root in outward.roots:
            inward = [
                name for name, each in policy.commands.items() if each.network is Network.NONE and root in each.roots
            ]
            if inward:
                yield (
                    f'{outward.origin}: warning: "{outward.name}" has the network and sees the root "{root}", so '
                    f"network: none keeps little of it from leaving that is written there by {', '.join(inward)}"
                )
