"""What a submitted job takes along: its configuration and the small files that this names, nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from batchseg.config.base import RayConfig
from batchseg.config.run import RunConfig
from batchseg.config.segmentor import CustomSegmentor
from batchseg.config.strict_yaml import load_yaml
from batchseg.errors import ConfigError
from batchseg.labels.label_file import load_label_map
from batchseg.labels.relation import is_built_in, load_relation
from batchseg.storage.location import is_uri

JOB_FILE, LABELS_FILE = "job.yaml", "labels.yaml"
RELATION_FILE, TARGET_FILE = "relation.yaml", "relation_to.yaml"

# what a job reads and writes where it runs; a segmentor's only if it is a file or folder here
_PLACES = (("source", ("path", "truth", "root")), ("output", ("path",)))
_OF_MODELS = ("model", "weights")


def pack_job(config: RunConfig, folder: Path) -> str:
    """Write the job's files into an empty folder; a digest of them.

    Paths of this machine become absolute: every node must see the same there. The label map's file and the
    module of a segmentor of the user's own go along.
    Raises LabelMapError, and ConfigError where the module is a whole package.
    """
    data = as_seen_everywhere(config)
    if config.labels is not None:
        load_label_map(config.labels)
        if not is_built_in(config.labels):
            shutil.copyfile(config.labels, folder / LABELS_FILE)
            data["labels"] = LABELS_FILE
    if isinstance(config.merge, str):
        data["merge"] = _pack_relation(config.merge, folder)
    for (_, packed), model in zip(_models(data), config.segmentor.models, strict=True):
        if isinstance(model, CustomSegmentor):
            packed["model"] = _pack_module(model.model, folder)
    (folder / JOB_FILE).write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return _digest(folder)


def as_seen_everywhere(config: RunConfig) -> dict[str, Any]:
    """The configuration for another machine: absolute paths, and nothing about how the job is submitted."""
    data = config.model_dump(mode="json")
    for part, names in _PLACES:
        data[part] |= {name: _absolute(data[part][name]) for name in names if data[part].get(name)}
    for _, model in _models(data):
        for name in _OF_MODELS:
            value = model.get(name)
            if value and not is_uri(value) and os.path.exists(os.path.expanduser(value)):
                model[name] = _absolute(value)
    if config.split_file is not None:
        data["split_file"] = _absolute(config.split_file)
    # on the cluster, Ray itself tells the driver which cluster it is on
    data["ray"] = RayConfig(exclude_head=config.ray.exclude_head).model_dump(mode="json")
    return data


def local_paths(config: RunConfig) -> dict[str, str]:
    """The settings that name a place on a disk, which every node must see under the same path."""
    data = as_seen_everywhere(config)
    places = {f"{part}.{name}": data[part].get(name) for part, names in _PLACES for name in names}
    places |= {f"{key}.{name}": model.get(name) for key, model in _models(data) for name in _OF_MODELS}
    places["split_file"] = data["split_file"]
    return {key: path for key, path in places.items() if path and os.path.isabs(path)}


def _models(data: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The settings of the model, or of each member of an ensemble, and their key."""
    segmentor = data["segmentor"]
    members = segmentor.get("members")
    if members is None:
        return [("segmentor", segmentor)]
    return [(f"segmentor.members.{place}", member) for place, member in enumerate(members)]


def _absolute(path: str) -> str:
    return path if is_uri(path) else os.path.abspath(os.path.expanduser(path))


def _pack_module(target: str, folder: Path) -> str:
    """What the module is called where the job runs.

    A file goes along, and so does a module that lies where the command runs; an installed one is taken to be
    on the nodes.
    """
    path, _, class_name = target.rpartition(":")
    if path.endswith(".py"):
        file = Path(path).expanduser()
        if not file.is_file():
            raise ConfigError(f"segmentor.model {target}: there is no file {file}")
        there = folder / file.name
        if there.exists() and there.read_bytes() != file.read_bytes():
            raise ConfigError(
                f"segmentor.model {target}: another file called {file.name} goes along already; give one of "
                "them another name"
            )
        shutil.copyfile(file, there)
        return f"{file.name}:{class_name}"
    name = target.partition(":")[0].partition(".")[0]
    if (Path(name) / "__init__.py").is_file():
        raise ConfigError(
            f"segmentor.model {target}: {name}/ is a package in this folder, and only single files go along; "
            "install it on the nodes and submit from another folder"
        )
    if Path(f"{name}.py").is_file():
        shutil.copyfile(f"{name}.py", folder / f"{name}.py")
    return target


def _pack_relation(path: str, folder: Path) -> str:
    """The relation's file, and that of the label map it leads to. Raises LabelMapError."""
    target = load_relation(path).target
    load_label_map(target)
    content = load_yaml(Path(path).read_text(encoding="utf-8"))
    if not is_built_in(target):
        shutil.copyfile(target, folder / TARGET_FILE)
        content["to"] = TARGET_FILE
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / RELATION_FILE).write_text(text, encoding="utf-8")
    return RELATION_FILE


def _digest(folder: Path) -> str:
    files = sorted(folder.iterdir())
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()
