"""Measure the start-up time of the command, compared with importing torch in the same run.

    python examples/benchmarks/startup.py

Exit code 1 means that the target was missed: `medvae --help` in at most 0.4 times the time that
`python -c "import torch"` takes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 11


def main() -> None:
    """Run the benchmark and print the results."""
    command = str(Path(sys.executable).with_name("medvae"))
    commands = {
        "medvae --help": [command, "--help"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    ratio = statistics.median(
        a / b for a, b in zip(seconds["medvae --help"], seconds["import torch"], strict=True)
    )
    figures = {name: round(statistics.median(times), 3) for name, times in seconds.items()}
    print(json.dumps({"ratio": round(ratio, 3), **figures}, indent=2))
    sys.exit(0 if ratio <= 0.4 else 1)


if __name__ == "__main__":
    main()
