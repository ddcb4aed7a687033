"""Makes a virtual environment with exactly the packages of a requirements file.

python scripts/make_venv.py FOLDER REQUIREMENTS

The folder is made anew and gets a file `.stamp` at the very end, so an interrupted run is repeated.
Packages are installed without their dependencies: the file lists all of them, so nothing unpinned
comes in, and a package that is wanted without some dependency can be.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    folder, requirements = map(Path, sys.argv[1:])
    if sys.version_info < (3, 11):
        version = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"python 3.11 or newer is needed, this is {version}; try make PYTHON=python3.12")
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{folder}: installing {requirements}", flush=True)
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    install = ["install", "--quiet", "--no-deps", "--prefer-binary", "--requirement", requirements]
    subprocess.run([*pip, *install], check=True)
    (folder / ".stamp").touch()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip failed with exit code {error.returncode}")
