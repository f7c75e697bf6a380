"""Scratch directories that programs have filled."""

import os

from components.sandbox.inside.scratch import exceeds, remove


def test_a_tree_of_any_depth_is_removed(tmp_path):
    root = tmp_path / "scratch"
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove(str(root))
    assert not root.exists()


def test_links_are_removed_and_not_followed(tmp_path):
    root, outside = tmp_path / "scratch", tmp_path / "outside"
    (root / "inner").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").touch()
    (root / "inner" / "link").symlink_to(outside)
    (root / "link").symlink_to(outside)
    remove(str(root))
    assert (outside / "kept").exists()


def test_too_much_is_noticed(tmp_path):
    assert not exceeds(str(tmp_path), disk=1 << 20, files=3)
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    assert exceeds(str(tmp_path), disk=1 << 20, files=3)
    assert not exceeds(str(tmp_path), disk=4 << 20, files=3)
    for name in "bcd":
        (tmp_path / name).touch()
    assert exceeds(str(tmp_path), disk=4 << 20, files=3)
    assert not exceeds(str(tmp_path / "gone"), disk=1, files=1)
