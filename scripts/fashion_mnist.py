"""Fetches Fashion-MNIST (MIT licence) from Debian's package and unpacks its four IDX files: 60,000
training and 10,000 test images of 28 x 28 bytes, and their labels.

python scripts/fashion_mnist.py OUT_FOLDER
"""

import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

PACKAGE = "dataset-fashion-mnist"
VERSION = "0.0~git20200523.55506a9-1"
POOL = "https://deb.debian.org/debian/pool/main/d/dataset-fashion-mnist"
SHA256 = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"
MEMBERS = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


def fetch(folder):
    """The package, by apt where there is one, else from Debian's mirror."""
    name = f"{PACKAGE}_{VERSION}_all.deb"
    if shutil.which("apt-get"):
        command = ["apt-get", "download", f"{PACKAGE}={VERSION}"]
        if subprocess.run(command, cwd=folder, check=False).returncode == 0:
            return (folder / name).read_bytes()
    with urllib.request.urlopen(f"{POOL}/{name}") as response:
        return response.read()


def member(package, name):
    """A member of an ar archive: a magic line, then headers of 60 bytes with name and size."""
    place = 8
    while place + 60 <= len(package):
        header = package[place : place + 60]
        size = int(header[48:58])
        if header[:16].decode().strip().rstrip("/") == name:
            return package[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    sys.exit(f"the package has no member {name}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{out}: from Debian's package {PACKAGE} (31 MB)", flush=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        package = fetch(Path(scratch))
        found = hashlib.sha256(package).hexdigest()
        if found != SHA256:
            sys.exit(f"{PACKAGE}: SHA-256 is {found}, expected {SHA256}")
        part = Path(scratch) / "fashion-mnist"
        part.mkdir()
        with tarfile.open(fileobj=io.BytesIO(member(package, "data.tar.xz"))) as archive:
            for name in MEMBERS:
                packed = archive.extractfile(f"./usr/share/datasets/fashion-mnist/{name}.gz")
                (part / name).write_bytes(gzip.decompress(packed.read()))
        # The folder appears whole or not at all.
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)


if __name__ == "__main__":
    main()
