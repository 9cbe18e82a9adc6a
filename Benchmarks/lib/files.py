"""What the measurements of long histories do with sizes and files."""

import contextlib
import ctypes
import os
import re
import threading

UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2


def byte_count(text):
    return int(text[:-1]) * UNITS[text[-1]]


@contextlib.contextmanager
def hollowing(folder):
    """Takes out of closed segments all but their first and last MiB."""
    ends = threading.Event()
    punch = ctypes.CDLL(None, use_errno=True).fallocate

    def segments(group):
        names = [f"{group}/{name}" for name in os.listdir(group)
                 if re.fullmatch("segment-[0-9]+", name)]
        return sorted(names, key=lambda name: os.stat(name).st_mtime)

    def run():
        done = set()
        while not ends.wait(1):
            for group in os.scandir(f"{folder}/data"):
                if not group.is_dir():
                    continue
                # The newest are open, or become so.
                for name in set(segments(group.path)[:-6]) - done:
                    done.add(name)
                    with open(name, "rb+") as file:
                        size = os.stat(file.fileno()).st_size - (2 << 20)
                        if punch(file.fileno(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 ctypes.c_long(1 << 20), ctypes.c_long(size)) != 0:
                            raise OSError(ctypes.get_errno(), name)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def forget(folder):
    os.sync()
    for place, _, names in os.walk(f"{folder}/data"):
        for name in names:
            with contextlib.suppress(OSError), open(f"{place}/{name}", "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
