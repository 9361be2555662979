"""What the machine is and can do, measured in the same run as the goals."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np
from harness import percentile


def machine_line() -> str:
    """CPU, cores, memory, kernel, load."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    load = os.getloadavg()
    return (
        f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {load[0]:.1f}/{load[1]:.1f}/{load[2]:.1f} at the start"
    )


def _gigabytes_per_second(action: object, nbytes: int, rounds: int = 9) -> tuple[float, float, float]:
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()  # type: ignore[operator]
        rates.append(nbytes / (time.perf_counter() - started) / 1e9)
    return percentile(rates, 0.5), percentile(rates, 0.1), percentile(rates, 0.9)


def calibrate(folder: Path) -> list[tuple[str, str]]:
    """memcpy, DRAM read and disk write rates: name and "median (p10 – p90) GB/s"."""
    big = np.ones(64 << 20, dtype=np.float32)
    to = np.empty_like(big)
    to[:] = 0  # touched: first touch is slow
    rows = [("memcpy 256 MiB", _gigabytes_per_second(lambda: np.copyto(to, big), big.nbytes))]
    small = np.ones(64 << 10, dtype=np.float32)
    small_to = np.ones_like(small)
    rows.append(("memcpy 256 KiB", _gigabytes_per_second(lambda: np.copyto(small_to, small), small.nbytes)))
    rows.append(("read 256 MiB (np.max)", _gigabytes_per_second(big.max, big.nbytes)))
    rows.append(("O_DIRECT write 8 MiB blocks", _direct_write(folder)))
    return [(name, f"{median:.1f} ({low:.1f} – {high:.1f}) GB/s") for name, (median, low, high) in rows]


def _direct_write(folder: Path) -> tuple[float, float, float]:
    import mmap

    block = mmap.mmap(-1, 8 << 20)
    path = folder / "calibrate.bin"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    except OSError:
        return 0.0, 0.0, 0.0
    try:
        return _gigabytes_per_second(lambda: [os.pwrite(fd, block, i * len(block)) for i in range(32)], 32 * len(block))
    finally:
        os.close(fd)
        path.unlink()
