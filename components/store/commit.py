"""Output directories committed by a manifest: the reader's and the writer's view."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components import CODE_VERSION
from components.contract.digests import bytes_digest, file_digest
from components.contract.errors import InputError
from components.contract.layout import manifest_key
from components.contract.manifest import Facts, Manifest, Output, Timings
from components.contract.section import StageName
from components.store.base import ObjectExists, ObjectMissing, Store
from components.store.files import reading

ANOTHER_PROCESS = "another process is executing the same run; stop one of them"


@dataclass(frozen=True)
class OutputDirectory:
    """One directory of a stage's outputs, which exists for readers once its manifest does.

    `read` and `fetch` look only at files that the manifest names, and compare their digests.
    """

    store: Store
    key: str

    @property
    def uri(self) -> str:
        return self.store.locate(self.key)

    def manifest(self) -> Manifest | None:
        """Return the manifest, None while the directory is not committed."""
        try:
            data = self.store.read(manifest_key(self.key))
        except ObjectMissing:
            return None
        return Manifest.from_json(data, self.store.locate(manifest_key(self.key)))

    def require(self) -> Manifest:
        """Return the manifest. Raises InputError while the directory is not committed."""
        manifest = self.manifest()
        if manifest is None:
            raise InputError(f"{self.uri} has no manifest: the stage that writes it has not finished")
        return manifest

    def has_policy(self) -> bool:
        """Return whether a policy is committed here; a train stage that found the target reached commits none."""
        manifest = self.manifest()
        return manifest is not None and manifest.holds_policy

    def read(self, path: str, manifest: Manifest | None = None) -> bytes:
        """Return a committed file's bytes. Raises InputError where they differ from what was committed."""
        output = _find(manifest or self.require(), path, self.uri)
        with self._named(path):
            data = self.store.read(f"{self.key}/{path}")
        _verify(bytes_digest(data), output, f"{self.uri}/{path}")
        return data

    def fetch(self, into: Path, below: str = "") -> Path:
        """Download the committed files below the sub-directory `below` and verify them.

        Returns:
            The directory that holds them: the store's own where it is local (nothing is copied), else `into`.
        """
        prefix = f"{below}/" if below else ""
        local = self.store.local_path(f"{self.key}/{below}" if below else self.key)
        for output in self.require().outputs:
            if not output.path.startswith(prefix):
                continue
            key = f"{self.key}/{output.path}"
            path = (local or into) / output.path.removeprefix(prefix)
            with self._named(output.path):
                if local is None:
                    self.store.download(key, path)
                with reading(path):
                    digest = file_digest(path)
            _verify(digest, output, self.store.locate(key))
        return local or into

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Name a missing file and the manifest that names it."""
        try:
            yield
        except ObjectMissing:
            raise ObjectMissing(
                f"{self.uri}/{path} is gone, though the manifest beside it names it; "
                "restore it, or delete its directory and start the run again to recreate it"
            ) from None


@dataclass(frozen=True)
class StageOutput(OutputDirectory):
    """A directory as the stage that writes it sees it; `Run.output` makes one.

    Files that are written count once `commit` has named them in the manifest. `upload` and `write` look for a
    manifest before each file, so a process that comes late leaves a committed directory alone. Stores offer no
    lock, so what remains is two processes that write at the same time: one may replace a file in the moment between
    its look and the other's commit. Where their bytes differ, readers then find a digest that is not the manifest's
    and refuse the file.

    Attributes:
        inputs: name -> digest of what the outputs are made from.
        config_digest: digest of the settings they depend on.
        files: what has been written so far. Where several processes upload, the one that commits extends its own
            list by theirs.
    """

    stage: StageName
    run: str
    inputs: Mapping[str, str]
    config_digest: str
    iteration: int | None = None
    shard: int | None = None
    files: list[Output] = field(default_factory=list, init=False)

    def committed(self) -> Manifest | None:
        """Return the manifest if this output is already committed, else None.

        Raises:
            InputError: the directory was committed from other inputs or settings.
        """
        manifest = self.manifest()
        if manifest is not None and (reason := self.mismatch(manifest)):
            raise InputError(
                f"{self.uri} was committed from {reason}; use another run.name, or restore what was changed"
            )
        return manifest

    def mismatch(self, manifest: Manifest) -> str | None:
        """Return why a manifest was made from other inputs or settings; None if it was not."""
        return manifest.mismatch(self.inputs, self.config_digest)

    def upload(self, directory: Path, below: str = "") -> None:
        """Store every file of a local directory under the sub-directory `below`.

        Raises:
            InputError: another process has committed the directory meanwhile.
        """
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            name = "/".join(filter(None, [below, path.relative_to(directory).as_posix()]))
            self._refuse_committed()
            self.store.upload(path, f"{self.key}/{name}")
            self.files.append(Output(path=name, size=path.stat().st_size, sha256=file_digest(path)))

    def write(self, path: str, data: bytes, rows: int | None = None) -> None:
        """Store one file. Raises InputError as `upload` does."""
        self._refuse_committed()
        self.store.write(f"{self.key}/{path}", data)
        self.record(path, data, rows)

    def record(self, path: str, data: bytes, rows: int | None = None) -> None:
        """Count a file that is stored already."""
        self.files.append(Output(path=path, size=len(data), sha256=bytes_digest(data), rows=rows))

    def commit(self, timings: Timings, facts: Facts | None = None) -> Manifest:
        """Write the manifest of all `files`, create-only.

        Raises:
            InputError: another process committed something else here meanwhile.
        """
        manifest = Manifest(
            stage=self.stage,
            run=self.run,
            iteration=self.iteration,
            shard=self.shard,
            inputs=dict(self.inputs),
            config_digest=self.config_digest,
            outputs=tuple(self.files),
            code_version=CODE_VERSION,
            timings=timings,
            facts=facts or {},
        )
        try:
            self.store.create(manifest_key(self.key), manifest.to_json())
        except ObjectExists:
            other = self.require()
            if other.digest != manifest.digest:
                raise self._committed_meanwhile() from None
            return other
        return manifest

    def retract(self) -> None:
        """Delete the manifest, so that the directory can be written and committed again."""
        self.store.delete(manifest_key(self.key))

    def _refuse_committed(self) -> None:
        if self.store.exists(manifest_key(self.key)):
            raise self._committed_meanwhile()

    def _committed_meanwhile(self) -> InputError:
        return InputError(f"{self.uri} was committed meanwhile: {ANOTHER_PROCESS}")


def _find(manifest: Manifest, path: str, uri: str) -> Output:
    for output in manifest.outputs:
        if output.path == path:
            return output
    raise InputError(f"the manifest of {uri} names no {path}")


def _verify(actual: str, output: Output, where: str) -> None:
    if actual != output.sha256:
        raise InputError(
            f"{where} is corrupted: SHA-256 {actual[:12]}..., committed as {output.sha256[:12]}...; "
            "restore it, or delete its directory and start the run again to recreate it"
        )
