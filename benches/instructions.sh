#!/usr/bin/env bash
# Instructions that a join adds to sequential code when nothing is stolen, as callgrind counts them, and how many of them
# have a LOCK prefix. Exact and the same on every run, unlike times. Fails when a goal is missed or valgrind is absent.
#
#   benches/instructions.sh [BINARY]     BINARY: a built `scheduler` benchmark; built here without it
set -euo pipefail
cd "$(dirname "$0")/.."

goal=25 # instructions a join
for tool in valgrind objdump; do
    command -v "$tool" >/dev/null || { echo "$tool is missing (Debian: apt-get install valgrind binutils)" >&2; exit 3; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

binary=${1:-}
if [ -z "$binary" ]; then
    binary=$(cargo bench --bench scheduler --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*scheduler-[^"]*\)".*/\1/p' | tail -1)
fi

# Addresses of instructions that lock the bus: a LOCK prefix, an exchange with memory, a full fence.
objdump -d --no-show-raw-insn "$binary" |
    awk '$2 == "lock" || $2 == "mfence" || ($2 ~ /^xchg/ && /\(/) { sub(":", "", $1); print $1 }' >"$folder/locked"

# count WORKLOAD RUNTIME CALLS: writes total and locked instructions of the calls, start-up included.
count() {
    local out="$folder/$1-$2-$3"
    valgrind --tool=callgrind --dump-instr=yes --compress-pos=no --compress-strings=no \
        --callgrind-out-file="$out" -q \
        "$binary" --count "$1" "$2" "$3" >"$out.log" 2>&1 || { cat "$out.log" >&2; exit 1; }
    awk -v binary="$(basename "$binary")" '
        FNR == NR { locked["0x" $1] = 1; next }
        /^ob=/ { ours = index($0, binary) > 0; next }
        /^calls=/ { inclusive = 1; next }
        /^0x/ {
            # The line after a call repeats what the callee has counted already.
            if (inclusive) { inclusive = 0; next }
            total += $3
            if (ours && ($1 in locked)) locks += $3
        }
        END { printf "%d %d\n", total, locks }' "$folder/locked" "$out"
}

missed=0
for workload in tree fib; do
    joins=$("$binary" --count "$workload" joins 1)
    for runtime in sequential upbeat; do
        read -r total_few locks_few < <(count "$workload" "$runtime" 20)
        read -r total_many locks_many < <(count "$workload" "$runtime" 120)
        # The difference leaves start and end of the process out.
        declare "total_$runtime=$((total_many - total_few))" "locks_$runtime=$((locks_many - locks_few))"
    done
    added=$(awk -v a="$total_upbeat" -v b="$total_sequential" -v j="$joins" 'BEGIN { printf "%.2f", (a - b) / (100 * j) }')
    locked=$(awk -v a="$locks_upbeat" -v j="$joins" 'BEGIN { printf "%.4f", a / (100 * j) }')
    verdict=met
    awk -v a="$added" -v g="$goal" -v l="$locked" 'BEGIN { exit !(a <= g && l < 0.01) }' || { verdict=missed; missed=1; }
    echo "$workload: $added instructions added a join (goal $goal), $locked of them locked (goal 0): $verdict"
done
exit "$missed"
