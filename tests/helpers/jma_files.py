"""JMA files, written byte by byte from the agency's specification."""

from pathlib import Path

STATIONS = [
    "3500000\t東京千代田区大手町\t3541\t13945\t189801999999\t",
    "3500034\t東京千代田区麹町＊\t3541\t13944\t199907211200\t",
    "3000000\t水戸市金町（旧）\t3623\t14028\t189701019999\t201003311300",
    "3000001\t水戸市金町\t3623\t14028\t201003311300\t",
    "3000020\t水戸市千波町（旧）＊\t3622\t14027\t200606201200\t999999999999",
    "1000000\t石狩市花川\t4310\t14119\t199604011200\t",
    "3599999\t東京どこか＊\t\t\t200001011200\t",
]


def source(
    time="2016010112000000", lat=" 353000", lon=" 1400000", depth=" 1000", mag="50W   ", flag="K", kind="A"
) -> bytes:
    head = f"{kind}{time} 001{lat} 002{lon} 003{depth} 04{mag}5112  3 86"
    return head.encode() + "茨城県北部".encode("cp932").ljust(22) + b"    1" + flag.encode()


def row(code="3500000", ns="00231", ew="00205", intensity="29") -> bytes:
    return f"{code} 011200010 3 {intensity} 01046 00231 N{ns} E{ew} Z00076".ljust(96).encode()


def dat(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(line + b"\r\n" for line in lines))
    return path


def station_table(path: Path) -> Path:
    path.write_bytes("".join(line + "\r\n" for line in STATIONS).encode("cp932"))
    return path
