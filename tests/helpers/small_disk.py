"""A file system that takes only small files."""

import contextlib
import resource


@contextlib.contextmanager
def small_disk(size: int):
    """No file of this process may grow beyond `size` bytes while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
