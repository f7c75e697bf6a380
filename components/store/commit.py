"""Output directories that a manifest commits."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components import CODE_VERSION
from components.contract.digests import bytes_digest, file_digest
from components.contract.errors import InputError
from components.contract.layout import manifest_key
from components.contract.manifest import Manifest, Output, Timings
from components.contract.section import StageName
from components.store.base import ObjectExists, ObjectMissing, Store
from components.store.files import reading


class OutputDirectory:
    """One directory of a stage's outputs, done when its manifest exists.

    Readers go through `read` and `fetch`, which look only at files that the manifest names and compare
    their digests.

    `upload` and `write` look for a manifest before each file, so a process that comes late leaves a committed
    directory alone. Stores offer no lock, so what remains is two processes that write at the same time: one may
    replace a file in the moment between its look and the other's commit. Where their bytes differ, readers then
    find a digest that is not the manifest's and refuse the file.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.key = key

    @property
    def uri(self) -> str:
        return self.store.locate(self.key)

    def manifest(self) -> Manifest | None:
        """The committed manifest; None while the directory is not done."""
        try:
            data = self.store.read(manifest_key(self.key))
        except ObjectMissing:
            return None
        return Manifest.from_json(data, self.store.locate(manifest_key(self.key)))

    def require(self) -> Manifest:
        """The manifest of a directory that has to be done. Raises InputError where it is not."""
        manifest = self.manifest()
        if manifest is None:
            raise InputError(f"{self.uri} has no manifest: the stage that writes it has not finished")
        return manifest

    def settled(self, inputs: dict[str, str], config_digest: str) -> Manifest | None:
        """The manifest if this very work is already committed, None if it is still to do.

        Raises:
            InputError: something else is committed here.
        """
        manifest = self.manifest()
        if manifest is None:
            return None
        if reason := manifest.mismatch(inputs, config_digest):
            raise InputError(
                f"{self.uri} was committed from {reason}; use another run.name, or restore what was changed"
            )
        return manifest

    def has_policy(self) -> bool:
        """Whether a policy is committed here (a train stage that stopped early commits none)."""
        manifest = self.manifest()
        return manifest is not None and manifest.holds_policy

    def read(self, path: str, manifest: Manifest | None = None) -> bytes:
        """A committed file's bytes. Raises InputError when they are not what was committed."""
        output = _find(manifest or self.require(), path, self.uri)
        with self._named(path):
            data = self.store.read(f"{self.key}/{path}")
        _verify(bytes_digest(data), output, f"{self.uri}/{path}")
        return data

    def fetch(self, into: Path, below: str = "") -> Path:
        """Bring the committed files below the sub-directory `below` onto this machine and verify them.

        Returns the directory that holds them: the store's own where it is local (nothing is copied),
        else `into`.
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

    def upload(self, directory: Path, below: str = "") -> list[Output]:
        """Store every file of a local directory under `below`; they count once a manifest names them.

        Raises:
            InputError: another process has committed the directory meanwhile.
        """
        outputs = []
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            name = "/".join(filter(None, [below, path.relative_to(directory).as_posix()]))
            self._refuse_committed()
            self.store.upload(path, f"{self.key}/{name}")
            outputs.append(Output(path=name, size=path.stat().st_size, sha256=file_digest(path)))
        return outputs

    def write(self, path: str, data: bytes, rows: int | None = None) -> Output:
        """Store one file; it counts once a manifest names it. Raises InputError as `upload` does."""
        self._refuse_committed()
        self.store.write(f"{self.key}/{path}", data)
        return Output(path=path, size=len(data), sha256=bytes_digest(data), rows=rows)

    def commit(
        self,
        stage: StageName,
        run: str,
        outputs: Iterable[Output],
        inputs: dict[str, str],
        config_digest: str,
        timings: Timings,
        iteration: int | None = None,
        shard: int | None = None,
        facts: dict[str, str | int | float | bool | None] | None = None,
    ) -> Manifest:
        """Write the manifest, create-only.

        Raises:
            InputError: another process committed something else here meanwhile.
        """
        manifest = Manifest(
            stage=stage,
            run=run,
            iteration=iteration,
            shard=shard,
            inputs=inputs,
            config_digest=config_digest,
            outputs=tuple(outputs),
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

    def _refuse_committed(self) -> None:
        if self.store.exists(manifest_key(self.key)):
            raise self._committed_meanwhile()

    def _committed_meanwhile(self) -> InputError:
        return InputError(f"{self.uri} was committed by another process meanwhile: two copies of this run are at work")

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Say of a missing file that it should be there."""
        try:
            yield
        except ObjectMissing:
            raise ObjectMissing(
                f"{self.uri}/{path} is gone, though the manifest beside it names it; "
                "restore it, or delete its directory and start the run again to make it anew"
            ) from None


def _find(manifest: Manifest, path: str, uri: str) -> Output:
    for output in manifest.outputs:
        if output.path == path:
            return output
    raise InputError(f"the manifest of {uri} names no {path}")


def _verify(actual: str, output: Output, where: str) -> None:
    if actual != output.sha256:
        raise InputError(
            f"{where} is corrupted: SHA-256 {actual[:12]}..., committed as {output.sha256[:12]}...; "
            "restore it, or delete its directory and start the run again to make it anew"
        )
