"""The nodes of the Ray cluster that a job may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchseg.errors import ConfigError

HEAD = "node:__internal_head__"  # a resource that Ray gives to the head node alone


@dataclass(frozen=True)
class Nodes:
    """What every usable node has, and the id of the one that is not to be used."""

    resources: tuple[Mapping[str, float], ...]
    without: str | None = None

    def total(self, name: str) -> float:
        return sum(node.get(name, 0.0) for node in self.resources)

    def smallest(self, name: str) -> float:
        """The least that a node has which has any."""
        return min((node[name] for node in self.resources if node.get(name)), default=1.0)


def anywhere_but(node_id: str | None) -> dict[str, str] | None:
    """What Ray is to ask of a node's labels before it places anything there."""
    return {"ray.io/node-id": f"!{node_id}"} if node_id else None


def usable_nodes(exclude_head: bool) -> Nodes:
    """The nodes that are alive now. Raises ConfigError where only the head is there, and it is excluded."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    if not exclude_head:
        return Nodes(tuple(node["Resources"] for node in alive))
    others = tuple(node["Resources"] for node in alive if HEAD not in node["Resources"])
    if not others:
        raise ConfigError("ray.exclude_head: the cluster has no node but its head")
    (head,) = (node["NodeID"] for node in alive if HEAD in node["Resources"])
    return Nodes(others, head)
