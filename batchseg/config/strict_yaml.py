"""YAML, less what it lets pass in silence: of a key that stands twice, PyYAML takes the last."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError

MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            if (key.tag, key.value) in seen:
                raise ComposerError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node


def load_yaml(text: str) -> Any:
    """The value that `text` stands for. Raises ValueError, in one line, where it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    except yaml.YAMLError as exc:
        raise ValueError(" ".join(str(exc).replace('in "<unicode string>", ', "in ").split())) from exc
    except (KeyError, IndexError, TypeError, AttributeError) as exc:
        raise ValueError("a tag such as !!bool stands before a value that it does not fit") from exc
