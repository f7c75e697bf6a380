"""Evaluation of NetworkPolicies: which pod can connect to what.

The rules are those of the API: a pod that no policy selects for a direction is not restricted in it; a selected pod
may do what any of its policies allows; a connection between two pods must be allowed at both ends. An address stands
for something outside the cluster, as `ipBlock` is meant.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.manifests import Object


@dataclass(frozen=True)
class Pod:
    """A pod's namespace and labels, which policies select by."""

    namespace: str
    labels: dict[str, str] = field(hash=False)


class Network:
    """The policies among some objects. Namespaces have only the label that Kubernetes gives them."""

    def __init__(self, objects: list[Object]) -> None:
        self._policies = [item for item in objects if item["kind"] == "NetworkPolicy"]

    def reach(self, pod: Pod) -> set[str]:
        """Return all destinations of a pod as `peer port/protocol`, or `everything` if nothing restricts it."""
        policies = list(self._selecting(pod, "Egress"))
        if not policies:
            return {"everything"}
        return {
            f"{_peer(peer)} {port}"
            for policy in policies
            for rule in policy["spec"].get("egress") or []
            for peer in rule.get("to") or [{}]
            for port in [f"{p.get('port', 'any')}/{p['protocol']}" for p in rule.get("ports") or []] or ["any port"]
        }

    def connects(self, source: Pod, target: Pod | str, port: int, protocol: str = "TCP") -> bool:
        """Return True if a connection is allowed. `target` is a pod, or an address outside the cluster."""
        if not self._allows(source, "Egress", target, port, protocol):
            return False
        return isinstance(target, str) or self._allows(target, "Ingress", source, port, protocol)

    def _allows(self, pod: Pod, direction: str, other: Pod | str, port: int, protocol: str) -> bool:
        policies = list(self._selecting(pod, direction))
        rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
        return not policies or any(
            (not rule.get(peers) or any(_matches_peer(peer, other, pod.namespace) for peer in rule[peers]))
            and (not rule.get("ports") or any(_matches_port(entry, port, protocol) for entry in rule["ports"]))
            for policy in policies
            for rule in policy["spec"].get(rules) or []
        )

    def _selecting(self, pod: Pod, direction: str) -> Iterator[Object]:
        for policy in self._policies:
            spec = policy["spec"]
            if (
                policy["metadata"]["namespace"] == pod.namespace
                and direction in spec["policyTypes"]
                and _selects(spec["podSelector"], pod.labels)
            ):
                yield policy


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _meets(expression, labels) for expression in selector.get("matchExpressions") or []
    )


def _meets(expression: Object, labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(expression)


def _matches_peer(peer: Object, other: Pod | str, own_namespace: str) -> bool:
    if isinstance(other, str):
        block = peer.get("ipBlock")
        if block is None or not _within(other, block["cidr"]):
            return False
        return not any(_within(other, cidr) for cidr in block.get("except", []))
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != own_namespace:
        return False
    return _selects(peer.get("podSelector") or {}, other.labels)


def _within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def _matches_port(entry: Object, port: int, protocol: str) -> bool:
    # Named ports and ranges are not used in these manifests.
    assert entry.keys() <= {"port", "protocol"}, entry
    assert isinstance(entry.get("port", 0), int), entry
    return entry["protocol"] == protocol and entry.get("port", port) == port


def _peer(peer: Object) -> str:
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"])
    namespace = ",".join(_selector(peer["namespaceSelector"])) + ":" if "namespaceSelector" in peer else ""
    return namespace + (",".join(_selector(peer.get("podSelector") or {})) or "anyone")


def _selector(selector: Object) -> Iterator[str]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield value if key == "kubernetes.io/metadata.name" else f"{key.rpartition('/')[2]}={value}"
    for expression in selector.get("matchExpressions") or []:
        yield f"{expression['key'].rpartition('/')[2]} {expression['operator']} {expression.get('values', '')}".strip()
