"""The size of a run as Argo stores it, by layout: its limit is 1 MiB for specification and compressed nodes together.

    .venv/bin/python -m benchmarks.workflow_size

Compiles the pipeline of each layout for runs of 1, 100 and 10,000 iterations and compares the files byte by byte; for
layout tasks it prints what fits by number of shards. Specifications are estimated from the compiled YAML and nodes from
their number, by what a real cluster stored (pipelines/cluster/workflow_size.py). Nothing is submitted.
"""

import tempfile
from pathlib import Path

from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.cluster_sections import Layout
from pipelines.cluster.workflow_size import LIMIT, largest_run, nodes_size, specification_size
from pipelines.compilation import compile_pipeline

_ITERATIONS = (1, 100, 10_000)
_LONG: tuple[Layout, ...] = ("workers", "pod")
_SHARDS = (1, 2, 4, 8)
_MOST = 24


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rapid-size-") as scratch:
        file = Path(scratch) / "rapid.yaml"
        print("layout    YAML      specification   for runs of")
        for layout in _LONG:
            compiled = set()
            for iterations in _ITERATIONS:
                compile_pipeline(ClusterConfig(layout=layout, max_iterations=iterations)).write(file)
                compiled.add(file.read_bytes())
            assert len(compiled) == 1, f"layout {layout}: the specification depends on the number of iterations"
            counts = ", ".join(f"{count:,}" for count in _ITERATIONS)
            print(f"{layout:8}  {_kb(file.stat().st_size)}  {_kb(specification_size(file)):>14}   {counts}: the same")
        print(f"\nlayout tasks: iterations that fit into {_kb(LIMIT)}, compiled for just as many")
        print("shards    iterations   specification   nodes")
        sizes = {}
        for count in range(1, _MOST + 1):
            compile_pipeline(ClusterConfig(layout="tasks", max_iterations=count)).write(file)
            sizes[count] = (specification_size(file), [largest_run(file, shards) >= count for shards in _SHARDS])
        for index, shards in enumerate(_SHARDS):
            most = max(count for count, (_, fits) in sizes.items() if fits[index])
            print(f"{shards:6}    {most:10}   {_kb(sizes[most][0]):>13}   {_kb(nodes_size(most, shards))}")


def _kb(size: int) -> str:
    return f"{size / 1000:,.0f} kB"


if __name__ == "__main__":
    main()
