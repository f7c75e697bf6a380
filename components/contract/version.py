"""The version of everything the stages agree on: configurations, manifests and their meaning."""

from components.contract.errors import InputError

CONTRACT_VERSION = 3


def require_version(version: object, what: str) -> None:
    """Refuse what another version wrote.

    Raises:
        InputError: `version` is not the version of this program.
    """
    if version != CONTRACT_VERSION:
        raise InputError(
            f"{what} was written by another version of RAPID (format {version}, this one reads {CONTRACT_VERSION}); "
            "start a new run under another run.name"
        )
