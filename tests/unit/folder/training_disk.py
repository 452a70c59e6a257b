"""A disk that fails at the n-th file operation, and that can lose what was not fsynced, as a power cut does."""

import io
import os
import stat
from pathlib import Path


class Killed(BaseException):
    """Stand for SIGKILL: no handler of the code may run any further file operation."""


class Disk:
    """Count the file operations under `root`, fail at number `fail_at`; a kill fails all that follow too."""

    def __init__(self, patch, root, fail_at, error, only=None):
        self.root, self.fail_at, self.error, self.only = Path(root), fail_at, error, only
        self.count, self.dead = 0, False
        self.log = []
        self.dirty = set()  # inodes written since their last fsync
        self.entries = []  # (inode of the folder, how to undo the change of its entries)
        self.real = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir")}
        self.real_open = io.open
        for name in self.real:
            patch.setattr(os, name, getattr(self, name))
        patch.setattr(io, "open", self.open)

    def step(self, kind):
        if self.dead:
            raise self.error
        if self.only is None or kind == self.only:
            self.count += 1
            self.log.append(kind)
            if self.count == self.fail_at:
                self.dead = isinstance(self.error, Killed)
                raise self.error

    def open(self, file, mode="r", *args, **kwargs):
        if "w" not in mode:
            return self.real_open(file, mode, *args, **kwargs)
        self.step("open")
        existed = Path(file).exists()
        opened = self.real_open(file, mode, *args, **kwargs)
        self.dirty.add(os.fstat(opened.fileno()).st_ino)
        if not existed:
            self.undo_by_name(Path(file))
        return Writer(self, opened)

    def fsync(self, descriptor):
        self.step("fsync")
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self.entries = [(folder, undo) for folder, undo in self.entries if folder != status.st_ino]
        else:
            self.dirty.discard(status.st_ino)

    def rename(self, source, target):
        self.step("rename")
        self.real["rename"](source, target)
        # A folder that was renamed only to be deleted may be gone by then.
        self.entries.append(
            (inode(target, parent=True), lambda: Path(target).exists() and self.real["rename"](target, source))
        )

    def replace(self, source, target):
        self.step("replace")
        old = Path(target).read_bytes() if Path(target).exists() else None
        self.real["replace"](source, target)
        undo = (lambda: self.real["unlink"](target)) if old is None else (lambda: Path(target).write_bytes(old))
        self.entries.append((inode(target, parent=True), undo))

    def unlink(self, path, **kwargs):
        self.step("unlink")
        self.real["unlink"](path, **kwargs)

    def mkdir(self, path, *args, **kwargs):
        self.step("mkdir")
        self.real["mkdir"](path, *args, **kwargs)

    def rmdir(self, path, **kwargs):
        self.step("rmdir")
        self.real["rmdir"](path, **kwargs)

    def undo_by_name(self, path):
        folder = inode(path, parent=True)

        def undo():
            for place in self.root.rglob("*"):
                if place.name == path.name and inode(place, parent=True) == folder:
                    self.real["unlink"](place)

        self.entries.append((folder, undo))

    def lose_what_is_not_synced(self):
        """Undo the changes of folders and cut the files in half that no fsync followed; call it after the patch."""
        for _, undo in reversed(self.entries):
            undo()
        for path in self.root.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.dirty:
                os.truncate(path, path.stat().st_size // 2)


class Writer:
    """Pass a file on, counting writes; a failing write leaves half of its bytes."""

    def __init__(self, disk, file):
        self.disk, self.file = disk, file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        try:
            self.disk.step("write")
        except BaseException:
            self.file.write(bytes(data)[: len(data) // 2])
            raise
        return self.file.write(data)


def inode(path, parent=False):
    path = Path(path)
    return (path.parent if parent else path).stat().st_ino
