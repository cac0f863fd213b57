"""Seconds to the first update, and peak memory, for small and for large files, cold and cached.

    python -m bench.large_data [--model FOLDER] [--rows 1000 100000 1000000]

Each line is the real command, ``selfhood sft``, in a process of its own. The clock runs until the
bar of the training appears, at update 0. "Cached" is the same command again: a large file's rows
are then out of the cache. One update of one row is trained, so that little is waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from selfhood.opening import locate_model
from selfhood.recipe import ModelOptions
from selfhood.starter import STARTER_ID

CHINESE = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能"
ENGLISH = (
    "the of and to in is you that it he was for on are as with his they at be this have from or"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    seconds: float
    peak_gib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=STARTER_ID)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    options = parser.parse_args()
    model = locate_model(ModelOptions(model=options.model))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {model.name}\n")
    print("| rows | file | | s to the first update | peak memory |\n|---|---|---|---|---|")
    for count in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "rows.jsonl")
            write_rows(data, count)
            for state in ("cold", "cached"):
                figures = first_update(model, data, Path(folder, "cache"))
                print(
                    f"| {count:,} | {data.stat().st_size / 1e6:.1f} MB | {state} "
                    f"| {figures.seconds:.1f} | {figures.peak_gib:.2f} GiB |",
                    flush=True,
                )


def write_rows(path: Path, count: int) -> None:
    """Chats in Chinese and English, of one to three questions, no two alike."""
    generator = random.Random(1)
    texts = [_text(generator) for _ in range(5_000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            turns = []
            for _ in range(generator.randint(1, 3)):
                turns.append({"role": "user", "content": f"{number}: {generator.choice(texts)}"})
                turns.append({"role": "assistant", "content": generator.choice(texts)})
            file.write(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")


def _text(generator: random.Random) -> str:
    length = generator.randint(4, 60)
    if generator.random() < 0.5:
        return "".join(generator.choices(CHINESE, k=length))
    return " ".join(generator.choices(ENGLISH.split(), k=length))


def first_update(model: Path, data: Path, cache: Path) -> Figures:
    """Run the command to its end; the operating system says how much memory it took."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "selfhood", "sft", "--model", str(model)]
        command += ["--dataset", str(data), "--output_dir", folder, "--add_version", "false"]
        command += ["--max_steps", "1", "--gradient_accumulation_steps", "1"]
        command += ["--max_length", "2048"]
        said = Path(folder, "said")
        environment = {**os.environ, "SELFHOOD_CACHE": str(cache)}
        began = time.monotonic()
        with said.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        seconds, ended = 0.0, 0
        while not ended:
            time.sleep(0.05)
            if not seconds and b"\ntraining " in said.read_bytes():
                seconds = time.monotonic() - began
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if status:
            sys.exit(said.read_text(encoding="utf-8"))
    return Figures(seconds=seconds, peak_gib=usage.ru_maxrss / (1 << 20))  # it is in KiB


if __name__ == "__main__":
    main()
