"""K-NET and KiK-net files, written line by line from NIED's description of the format."""

import io
import tarfile

import numpy as np

#: Gal a count; Record Time is 15 s after the first sample.
SCALE = "2000(gal)/8388608"
GAL = 2000 / 8388608
CHANNELS = {"NS1": "1", "EW1": "2", "UD1": "3", "NS2": "4", "EW2": "5", "UD2": "6"}
CHANNELS |= {"NS": "N-S", "EW": "E-W", "UD": "U-D"}


def shaking(peak_gal: float, hz: float = 2.0, seconds: int = 60, offset: int = -18_000) -> np.ndarray:
    """Return counts of a wave train that swings to ``peak_gal`` half way, about an offset."""
    time = np.arange(100 * seconds) / 100
    window = np.exp(-(((time - seconds / 2) / 4) ** 2))
    return (
        np.round(peak_gal / GAL * window * np.cos(2 * np.pi * hz * (time - seconds / 2))).astype(int)
        + offset
    )


def ascii_record(
    channel: str = "EW",
    counts: np.ndarray | None = None,
    *,
    code: str = "AKT013",
    origin: str = "1996/08/11 03:12:00",
    record: str = "1996/08/11 03:12:39",
    event: tuple[str, str, str, str] = ("38.920", "140.630", "7", "5.9"),
    station: tuple[str, str, str] = ("39.6069", "140.3213", "34"),
    max_acc: str | None = None,
) -> bytes:
    """Return a file; `event` is latitude, longitude, depth, magnitude; `station` ends with its height."""
    counts = shaking(20) if counts is None else counts
    peak = np.abs(counts - np.mean(counts)).max() * GAL
    header = {
        "Origin Time": origin,
        "Lat.": event[0],
        "Long.": event[1],
        "Depth. (km)": event[2],
        "Mag.": event[3],
        "Station Code": code,
        "Station Lat.": station[0],
        "Station Long.": station[1],
        "Station Height(m)": station[2],
        "Record Time": record,
        "Sampling Freq(Hz)": "100Hz",
        "Duration Time(s)": str(len(counts) // 100),
        "Dir.": CHANNELS[channel],
        "Scale Factor": SCALE,
        "Max. Acc. (gal)": f"{peak:.3f}" if max_acc is None else max_acc,
        "Last Correction": record,
        "Memo.": "",
    }
    lines = [f"{name:18}{value}" for name, value in header.items()]
    lines += ["".join(f"{count:8d} " for count in counts[i : i + 8]) for i in range(0, len(counts), 8)]
    return "".join(line + "\n" for line in lines).encode()


def csv_record(
    columns: dict[str, np.ndarray],
    *,
    code: str = "AKT013",
    origin: str = "1996/08/11 03:12:00.00",
    record: str = "1996/08/11 03:12:39.00",
    max_acc: str | None = None,
) -> bytes:
    """Return a file of the CSV form: accelerations in gal by the names of their columns."""
    peaks = ",".join(f"{np.abs(gal - gal.mean()).max():.3f}" for gal in columns.values())
    n = len(next(iter(columns.values())))
    header = {
        "Origin Time": origin,
        "Lat.": "38.920",
        "Long.": "140.630",
        "Depth. (km)": "7",
        "Mag.": "5.9",
        "Station Code": code,
        "Station Lat.": "39.6069",
        "Station Long.": "140.3213",
        "Station Height(m)": "34",
        "Record Time": record,
        "Sampling Freq(Hz)": "100",
        "Duration Time(s)": str(n // 100),
        "Max. Acc. (gal)": peaks if max_acc is None else max_acc,
        "Last Correction": record,
        "Memo.": "",
    }
    lines = [f"#{name},{value}" for name, value in header.items()]
    lines.append(",".join(["Time", *columns]))
    rows = zip(*columns.values(), strict=True)
    lines += [f"{i / 100:.2f}," + ",".join(f"{gal:.4f}" for gal in row) for i, row in enumerate(rows)]
    return "".join(line + "\n" for line in lines).encode()


def tar(contents: dict[str, bytes], mode: str = "w:") -> bytes:
    """Return a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as out:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
