"""A configuration that is an object in a bucket."""

import pytest

from components.contract.errors import InputError
from components.contract.job import NO_JOB
from components.prepare.job_config import job_config
from components.store import open_store

TEXT = "{run: adder, model: owner/name, data: s3://b/d/}"


def read(config: str) -> str:
    return job_config(config, "", "", "", -1, NO_JOB).run.name


def test_a_configuration_in_object_storage(moto: str) -> None:
    store, place = open_store(moto), f"{moto}/my.yaml"
    with pytest.raises(InputError, match=f"config: {place} does not exist"):
        read(place)
    store.write("my.yaml", TEXT.encode())
    assert read(f" {place}\n") == "adder"
    store.write("my.yaml", b"model: [")
    with pytest.raises(InputError, match=place):
        read(place)
    store.write("my.yaml", b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read(place)
