"""What a layer does not stop a command from, in words for clients and for the operator. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fsserver.kernel.features import Features
from fsserver.policy.compiled import Layer
from fsserver.sandbox.downgrade import downgrade

_GAPS: Final[Mapping[Layer, tuple[str, ...]]] = {
    Layer.FULL: (),
    Layer.LANDLOCK: (
        "protected names inside a root: what may be read or written in a root, may be whatever its name",
        "names, sizes, times and attributes of files outside the roots can be seen",
        "mode, owner, times and attributes of files outside the roots that belong to the same user can be changed",
        "names and command lines of other processes can be seen",
        "the number of processes, where there is no control group: it is sampled",
    ),
    Layer.NONE: ("anything: a command can do what this user can do",),
}

_SIGNALS: Final = "signals to other processes of the same user, this server among them (Landlock below ABI 6)"


def gaps_of(layer: Layer, features: Features) -> list[str]:
    """What the layer does not stop on this machine, each completing "not enforced: …"."""
    texts = list(_GAPS[layer])
    if layer is Layer.LANDLOCK and not downgrade(features.landlock_abi, seccomp=features.seccomp).scoped:
        texts.append(_SIGNALS)
    return texts
