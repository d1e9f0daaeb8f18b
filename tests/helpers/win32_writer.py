"""WIN32 files and channel tables, written sample by sample from the format's description."""

import datetime
import itertools
from pathlib import Path

JST = datetime.timezone(datetime.timedelta(hours=9))
#: Bytes of a difference, by sample size; the smallest that fits is the one a digitiser writes.
SIZES = {0: 0.5, 1: 1, 2: 2, 3: 3, 4: 4}


def smallest_size(samples) -> int:
    steps = [int(b) - int(a) for a, b in itertools.pairwise(samples)]
    for size, width in SIZES.items():
        half = 2 ** round(8 * width - 1)
        if all(-half <= step < half for step in steps):
            return size
    raise ValueError("a step needs more than four bytes")


def channel_block(channel: int, samples, size: int | None = None, network: int = 0x0207) -> bytes:
    samples = [int(sample) for sample in samples]
    size = smallest_size(samples) if size is None else size
    head = network.to_bytes(2, "big") + channel.to_bytes(2, "big")
    head += ((size << 12) + len(samples)).to_bytes(2, "big")
    body = samples[0].to_bytes(4, "big", signed=True)
    steps = [b - a for a, b in itertools.pairwise(samples)]
    if size == 0:
        digits = "".join(f"{step % 16:x}" for step in steps)  # two's complement in one hex digit
        body += bytes.fromhex(digits + "0" * (len(digits) % 2))
    else:
        body += b"".join(step.to_bytes(size, "big", signed=True) for step in steps)
    return head + body


def second_block(time: datetime.datetime, *channels: bytes) -> bytes:
    """Return a block of one second; `time` is aware, and Japan Standard Time in the file."""
    local = time.astimezone(JST)
    body = b"".join(channels)
    digits = bytes.fromhex(local.strftime("%Y%m%d%H%M%S") + f"{local.microsecond // 10_000:02d}")
    return digits + (10).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body


def win32_file(path: Path, *seconds: bytes) -> Path:
    path.write_bytes(bytes(4) + b"".join(seconds))
    return path


def channel_row(
    channel="8A01", station="E.AC3M", component="N", sensitivity="0.5", unit="m/s/s", gain_db="20",
    lsb="1.0e-6", latitude="35.6000", longitude="139.7000",
) -> str:  # fmt: skip
    return (
        f"{channel} 1 0 {station} {component} 5 24 {sensitivity} {unit} 0 0.7 {gain_db} {lsb} "
        f"{latitude} {longitude} -20 0 0 somewhere"
    )


def channel_table(path: Path, *rows: str) -> Path:
    path.write_bytes(("# a comment\n\n" + "\n".join(rows) + "\n").encode("cp932"))
    return path
