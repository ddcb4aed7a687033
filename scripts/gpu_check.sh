#!/bin/sh
# The CUDA backend on a machine with a GPU: the table of ops against the processor (with outputs that
# were full of ones before), then without the libraries that it needs, then memcheck and racecheck over a
# part of it where compute-sanitizer is there, then the times beside its peers where benches/gpu.py
# lies beside this folder. Needs the test binary (built anywhere with
#   cargo test --release -p lazulite-cuda --test gpu --no-run), a driver, NVRTC and cublasLt.
# Usage: scripts/gpu_check.sh BINARY [PAGE OF RESULTS]
set -u
binary=${1:?"the path of the test binary"}
page=${2:-}
here=$(dirname "$0")
libraries=$(python3 - <<'PYTHON' 2>/dev/null
import glob, os, site
roots = site.getsitepackages()
print(":".join(sorted(p for r in roots for p in glob.glob(os.path.join(r, "nvidia", "*", "lib")))))
PYTHON
)
export LAZULITE_CUDA_LIBS="${LAZULITE_CUDA_LIBS:-$libraries}"

# The table in parts, side by side: most of its time is the processor's.
parts=8
logs=$(mktemp -d)
part=0
while [ $part -lt $parts ]; do
    "$binary" $part/$parts >"$logs/$part" 2>&1 || touch "$logs/failed" &
    part=$((part + 1))
done
wait
grep -h "^FAILED\|panicked" "$logs"/*
grep -h " passed, .* on the host" "$logs"/*

# Libraries that are missing: their folders are hidden from a process with mounts of its own.
if unshare -m true 2>/dev/null; then
    without() {
        env -u VIRTUAL_ENV -u CONDA_PREFIX -u LD_LIBRARY_PATH LAZULITE_CUDA_LIBS="$1" unshare -m sh -c '
            folders=$(ldconfig -p | sed -n "s|.* => \(.*\)/libnvrtc.so.*|\1|p; s|.* => \(.*\)/libcublasLt.so.*|\1|p")
            for folder in $(echo "$folders" /usr/local/cuda/lib64 | xargs -n 1 readlink -f | sort -u); do
                [ ! -d "$folder" ] || [ -e "$folder/libc.so.6" ] || mount -t tmpfs none "$folder"
            done
            exec "$@"' sh "$binary" "$2" 2>&1 | tail -n 1
    }
    compiler=$(echo "$LAZULITE_CUDA_LIBS" | tr : '\n' | while read -r folder; do
        [ ! -e "$folder/libnvrtc.so.13" ] || cp "$folder"/libnvrtc* "$logs"
    done; echo "$logs")
    without /nonexistent matmul | tee "$logs/tool"
    grep -q "skipped: libnvrtc.so.13 is missing" "$logs/tool" || touch "$logs/failed"
    echo "without cublasLt: $(without "$compiler" "matmul float32" | tee "$logs/tool")"
    grep -q " passed, 0 failed, 0 steps on the host" "$logs/tool" || touch "$logs/failed"
fi

if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        for checks in "attention bfloat16 129" "attention bfloat16 4 777" "long rows" \
            "few rows bfloat16 9 " "few rows float16 33 " "attention bfloat16 1 3000 " "long cumsum [1" \
            "quantized_matmul tiles 4 64 bfloat16 33" "quantized_matmul tiles 4 64 bfloat16 16" \
            "sort bfloat16 [3, 5000]" \
            "sum bfloat16 [300, 1031]" "cumsum false true bfloat16" "gather" "scatter" \
            "attention gradients bfloat16 129" "conv bfloat16 [3, 14" "argmax bfloat16 [70"; do
            echo "$tool: $checks"
            compute-sanitizer --tool $tool --error-exitcode 9 "$binary" "$checks" >"$logs/tool" 2>&1 ||
                touch "$logs/failed"
            grep "SUMMARY" "$logs/tool"
        done
    done
fi

if [ -f "$here/../benches/gpu.py" ]; then
    python3 "$here/../benches/gpu.py" --program "$binary" ${page:+--page "$page"}
else
    "$binary" bench
fi
[ ! -e "$logs/failed" ]
