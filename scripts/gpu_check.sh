#!/bin/sh
# The CUDA backend on a machine with a GPU: the table of ops against the processor, memcheck over a
# part of it where compute-sanitizer is there, then timings. Needs the test binary (built anywhere with
#   cargo test -p lazulite-cuda --test gpu --no-run), a driver, NVRTC and cublasLt.
# Usage: scripts/gpu_check.sh BINARY
set -u
binary=${1:?"the path of the test binary"}
libraries=$(python3 - <<'PYTHON' 2>/dev/null
import glob, os, site
roots = site.getsitepackages()
print(":".join(sorted(p for r in roots for p in glob.glob(os.path.join(r, "nvidia", "*", "lib")))))
PYTHON
)
export LAZULITE_CUDA_LIBS="${LAZULITE_CUDA_LIBS:-$libraries}"
"$binary"
table=$?
if command -v compute-sanitizer >/dev/null; then
    compute-sanitizer --tool memcheck --error-exitcode 9 "$binary" "gather" | tail -n 12
fi
"$binary" bench
exit $table
