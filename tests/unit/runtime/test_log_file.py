"""Log files are bounded, and a full disk never stops the work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tidegate.runtime.log_file import LOG_FILES_MAX, RotatingLog


def test_files_rotate_and_the_oldest_goes(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", bytes_max=20)

    for number in range(40):
        log.write(f"line {number:04d}\n")
    log.close()

    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["a.log", *(f"a.log.{n}" for n in range(1, LOG_FILES_MAX))]
    assert all(path.stat().st_size <= 20 for path in files)
    assert (tmp_path / "a.log").read_text().endswith("line 0039\n")


def test_appending_to_an_existing_file_counts_its_size(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("x" * 15 + "\n")
    log = RotatingLog(tmp_path / "a.log", bytes_max=20)

    log.write("hello world\n")
    log.close()

    assert (tmp_path / "a.log").read_text() == "hello world\n"
    assert (tmp_path / "a.log.1").read_text() == "x" * 15 + "\n"


def test_lines_that_cannot_be_written_are_dropped_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = RotatingLog(folder / "a.log", bytes_max=10)
    log.write("123456789\n")
    shutil.rmtree(folder)

    log.write("this one is lost\n")
    folder.mkdir()
    log.write("back\n")
    log.close()

    assert log.dropped == 1
    assert (folder / "a.log").read_text() == "back\n"


def test_raw_output_follows_into_the_current_file(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom tidegate.runtime.log_file import RotatingLog\n"
        "log = RotatingLog(Path(sys.argv[1]), bytes_max=10, redirect=(2,))\n"
        "os.write(2, b'first\\n')\nlog.write('0123456789\\n')\nlog.write('next\\n')\nos.write(2, b'second\\n')\n"
    )

    subprocess.run([sys.executable, "-c", program, tmp_path / "a.log"], check=True, env=dict(os.environ))

    assert (tmp_path / "a.log").read_text() == "next\nsecond\n"
