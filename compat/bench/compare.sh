#!/usr/bin/env bash
# Times rayon's users on rayon-core and on upbeat in its place, in turns, and prints the ratio of the medians of all rounds
# (time on rayon-core / time on upbeat: above 1, upbeat is faster).
#
#   compare.sh [ROUNDS [ROWS]]      ROWS: only rows whose name contains this
#
# FEATURES=--no-default-features leaves gemm, candle and faer out, which take minutes to build.
#
# RUN is put before each run, such as RUN="chrt -f 50 taskset -c 0,1".
#
# With glibc, MALLOC_MMAP_THRESHOLD_=67108864 MALLOC_TRIM_THRESHOLD_=1073741824 keeps the blocks of a call mapped for the next
# one in both programs; else it is chance whether they are, and costs a sort a quarter of its time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-5}
rows=${2:-}
target=${CARGO_TARGET_DIR:-$here/target}
cd "$here"
patch="patch.crates-io.rayon-core.path=\"$here/../rayon-core\""
CARGO_TARGET_DIR=$target/original cargo build --quiet --release ${FEATURES:-}
# The lock file is that of the original; the patched build works on a copy.
mkdir -p "$target/patched-source"
cp -R Cargo.toml Cargo.lock src "$target/patched-source"
(cd "$target/patched-source" && CARGO_TARGET_DIR=$target/patched cargo --config "$patch" build --quiet --release ${FEATURES:-})

out=$(mktemp)
trap 'rm -f "$out"' EXIT
for _ in $(seq "$rounds"); do
    for which in original patched; do
        ${RUN:-} "$target/$which/release/rayon-core-bench" "$rows" | sed "s/^/$which\t/" >> "$out"
    done
done
awk -F '\t' '
function median(list, parts, n, i, j, t) {
    n = split(list, parts, " ")
    for (i = 2; i <= n; i++) for (j = i; j > 1 && parts[j - 1] + 0 > parts[j] + 0; j--) {
        t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t
    }
    return n % 2 ? parts[(n + 1) / 2] : (parts[n / 2] + parts[n / 2 + 1]) / 2
}
{ if (!($2 in seen)) { seen[$2] = 1; order[++count] = $2 } times[$1, $2] = times[$1, $2] " " $3 }
END {
    print "| row | rayon-core, µs | on upbeat, µs | ratio |\n|---|---:|---:|---:|"
    for (k = 1; k <= count; k++) {
        name = order[k]; a = median(times["original", name]); b = median(times["patched", name])
        printf "| %s | %.2f | %.2f | %.2f |\n", name, a / 1000, b / 1000, a / b
    }
}' "$out"
