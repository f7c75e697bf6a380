"""Removes every package from /opt/rapid but the one named and what it needs."""

import shutil
import sys
from importlib.metadata import PathDistribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

here = {canonicalize_name(found.name): found for found in distributions(path=["/opt/rapid"])}
kept: dict[str, set[str]] = {}
waiting = [Requirement(sys.argv[1])]
while waiting:
    wanted = waiting.pop()
    name = canonicalize_name(wanted.name)
    if name not in here or (name in kept and wanted.extras <= kept[name]):
        continue
    kept.setdefault(name, set()).update(wanted.extras)
    for one in map(Requirement, here[name].requires or []):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
            waiting.append(one)
for name in here.keys() - kept.keys():
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
