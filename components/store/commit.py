"""Output directories committed by a manifest: the reader's and the writer's view."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components import CODE_VERSION
from components.contract.digests import bytes_digest, file_digest, json_digest
from components.contract.errors import InputError
from components.contract.layout import manifest_key, split_attempt
from components.contract.manifest import Facts, Manifest, Output, Timings
from components.contract.section import StageName
from components.store.attempts import Attempt
from components.store.base import ObjectExists, ObjectMissing, Store
from components.store.cancellation import require_not_cancelled
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
        """Return a committed file's bytes, of a path with or without the attempt's folder.

        Raises:
            InputError: they differ from what was committed.
        """
        output = _find(manifest or self.require(), path, self.uri)
        with self._named(output.path):
            data = self.store.read(f"{self.key}/{output.path}")
        _verify(bytes_digest(data), output, f"{self.uri}/{output.path}")
        return data

    def fetch(self, into: Path, below: str = "", *, copy: bool = False) -> Path:
        """Download the committed files below the sub-directory `below`, all of one attempt, and verify them.

        Args:
            copy: whether files of a local store are copied too.

        Returns:
            The directory that holds them: the store's own where it is local and nothing is copied, else `into`.
        """
        prefix = f"{below}/" if below else ""
        files = [output for output in self.require().outputs if output.name.startswith(prefix)]
        local = None if copy else self.store.local_path("/".join(filter(None, [self.key, folder_of(files), below])))
        for output in files:
            key = f"{self.key}/{output.path}"
            path = (local or into) / output.name.removeprefix(prefix)
            with self._named(output.path):
                if local is None:
                    self.store.download(key, path)
                with reading(path):
                    digest = file_digest(path)
            _verify(digest, output, self.store.locate(key))
        return local or into

    def retract(self) -> None:
        """Delete the manifest, so that the directory can be written and committed again."""
        self.store.delete(manifest_key(self.key))

    def discard(self) -> None:
        """Delete everything in the directory: the manifest first, so that a kill leaves nothing that counts."""
        self.retract()
        for info in self.store.list(self.key):
            self.store.delete(info.key)

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

    Files that are written count once `commit` has named them in the manifest. Each attempt writes into a folder of its
    own, so that two never touch each other's files; the one that commits first decides.

    Attributes:
        inputs: name -> digest of what the outputs are made from.
        config_digest: digest of the settings they depend on.
        attempt: the start of a worker that writes; None for stages that are never started twice at a time (prepare,
            publish), whose files have no folder. They leave a committed directory alone.
        cancel_mark: key of the object that forbids to commit; empty where none does.
        files: what has been written so far. Where several processes upload, the one that commits extends its own
            list by theirs.
        content: digests of what identifies the content, where that is not all bytes of all files: of rows, where
            files are parts of a table.
    """

    stage: StageName
    run: str
    inputs: Mapping[str, str]
    config_digest: str
    iteration: int | None = None
    shard: int | None = None
    attempt: Attempt | None = None
    cancel_mark: str = ""
    files: list[Output] = field(default_factory=list, init=False)
    content: list[str] = field(default_factory=list, init=False)

    def path(self, name: str) -> str:
        """Return the path, relative to the directory, at which this attempt stores a file."""
        return f"{self.attempt.folder}/{name}" if self.attempt else name

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
            InputError: another process has taken over, or committed the directory meanwhile.
        """
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            name = self.path("/".join(filter(None, [below, path.relative_to(directory).as_posix()])))
            self._require_right()
            self.store.upload(path, f"{self.key}/{name}")
            self.files.append(Output(path=name, size=path.stat().st_size, sha256=file_digest(path)))

    def write(self, path: str, data: bytes, rows: int | None = None) -> None:
        """Store one file. Raises InputError as `upload` does."""
        self._require_right()
        self.store.write(f"{self.key}/{self.path(path)}", data)
        self.record(self.path(path), data, rows)

    def record(self, path: str, data: bytes, rows: int | None = None) -> None:
        """Count a file that is stored already, at a path relative to the directory."""
        self.files.append(Output(path=path, size=len(data), sha256=bytes_digest(data), rows=rows))

    def commit(self, timings: Timings, facts: Facts | None = None) -> Manifest:
        """Write the manifest of all `files`, create-only.

        Returns:
            The committed manifest: that of another attempt where it was first. Its digest says whether its content is
            the same.

        Raises:
            Superseded: a later attempt has taken over.
            RunCancelled: the run is cancelled. A commit that began before the mark was written may still come after
                it, as if the cancellation had been later.
            InputError: another process committed something here meanwhile that was made from other inputs or settings.
        """
        require_not_cancelled(self.store, self.cancel_mark)
        if self.attempt:
            self.attempt.require_newest()
        manifest = Manifest(
            stage=self.stage,
            run=self.run,
            iteration=self.iteration,
            shard=self.shard,
            inputs=dict(self.inputs),
            config_digest=self.config_digest,
            outputs=tuple(self.files),
            content=json_digest(sorted(self.content)) if self.content else None,
            code_version=CODE_VERSION,
            timings=timings,
            facts=facts or {},
        )
        try:
            self.store.create(manifest_key(self.key), manifest.to_json())
        except ObjectExists:
            other = self.require()
            if other.digest != manifest.digest and (self.attempt is None or self.mismatch(other)):
                raise self._committed_meanwhile() from None
            manifest = other
        self._clear_other_attempts(manifest)
        return manifest

    def _clear_other_attempts(self, manifest: Manifest) -> None:
        """Delete what attempts left here that the manifest does not name. A first attempt has nothing to look for."""
        if self.attempt is None or self.attempt.number == 1:
            return
        named = {output.path for output in manifest.outputs}
        for info in self.store.list(self.key):
            path = info.key.removeprefix(f"{self.key}/")
            if split_attempt(path)[0] and path not in named:
                self.store.delete(info.key)

    def _require_right(self) -> None:
        """Raise InputError where this process must not write here any more."""
        if self.attempt:
            self.attempt.require_newest()
        elif self.store.exists(manifest_key(self.key)):
            raise self._committed_meanwhile()

    def _committed_meanwhile(self) -> InputError:
        return InputError(f"{self.uri} was committed meanwhile: {ANOTHER_PROCESS}")


def folder_of(files: Sequence[Output]) -> str:
    """Return the folder of the one attempt that wrote these files; empty where none did."""
    folders = {split_attempt(output.path)[0] for output in files}
    assert len(folders) <= 1, f"files of several attempts: {sorted(folders)}"
    return folders.pop() if folders else ""


def _find(manifest: Manifest, path: str, uri: str) -> Output:
    for output in manifest.outputs:
        if path in (output.path, output.name):
            return output
    raise InputError(f"the manifest of {uri} names no {path}")


def _verify(actual: str, output: Output, where: str) -> None:
    if actual != output.sha256:
        raise InputError(
            f"{where} is corrupted: SHA-256 {actual[:12]}..., committed as {output.sha256[:12]}...; "
            "restore it, or delete its directory and start the run again to recreate it"
        )
