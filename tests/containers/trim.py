"""Removes every package from /opt/rapid but the one named and what it needs."""

import shutil
import sys
from importlib.metadata import PathDistribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

here = {canonicalize_name(found.name): found for found in distributions(path=["/opt/rapid"])}
kept: set[str] = set()
waiting = [canonicalize_name(sys.argv[1])]
while waiting:
    name = waiting.pop()
    if name in kept or name not in here:
        continue
    kept.add(name)
    needed = map(Requirement, here[name].requires or [])
    waiting += [canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate()]
for name in here.keys() - kept:
    distribution = here[name]
    assert isinstance(distribution, PathDistribution)
    for file in distribution.files or []:
        Path(distribution.locate_file(file)).unlink(missing_ok=True)
# An empty folder would be imported as a namespace package; compiled files are in no package's list.
for folder in sorted(Path("/opt/rapid").glob("**/"), reverse=True):
    is_remnant = folder.suffix == ".dist-info" and not (folder / "METADATA").exists()
    if is_remnant or (all(entry.name == "__pycache__" for entry in folder.iterdir()) and folder.name != "__pycache__"):
        shutil.rmtree(folder)
print(f"{len(kept)} packages left: {' '.join(sorted(kept))}")
