#!/usr/bin/env bash
# What is too long for the gate, or needs a nightly toolchain: deeper models, modes, sanitizers, stress, sweeps.
#
# Usage: ci/nightly.sh [LEG]...     all legs without an argument; `ci/nightly.sh list` names them
#
# Goes on after a leg that fails, and fails at the end. UPBEAT_STRESS_SECONDS limits each stress (600). The last results are
# recorded in docs/nightly.md.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
export PATH="$HOME/.cargo/bin:$PATH"
seconds=${UPBEAT_STRESS_SECONDS:-600}
target=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-target}

# Every model with one preemption more than the gate has time for, and the documentation's examples under loom.
leg_models() {
    RUSTFLAGS="--cfg upbeat_loom" CARGO_TARGET_DIR=target/loom UPBEAT_TEST_MORE_PREEMPTIONS=1 \
        cargo test -p upbeat-loom-tests --release --no-fail-fast || return 1
    RUSTFLAGS="--cfg upbeat_loom" RUSTDOCFLAGS="--cfg upbeat_loom" CARGO_TARGET_DIR=target/loom \
        cargo test -p upbeat --release --doc loom
}

# The tests in the modes for debugging. Many of the runtime's have sides that wait for each other, which only always-promote is sure to
# run side by side; what is computed must be right in all.
leg_modes() {
    local mode status=0
    UPBEAT_MODE=always-promote cargo test -p upbeat -p upbeat-kernels -p upbeat-nn --no-fail-fast || status=1
    for mode in never-promote seed=1 seed=2; do
        UPBEAT_MODE=$mode cargo test -p upbeat-kernels -p upbeat-nn --no-fail-fast || status=1
        UPBEAT_MODE=$mode cargo test -p upbeat --test modes --test sort --test limits --no-fail-fast || status=1
    done
    return $status
}

# The kernels' level for AArch64, emulated: every test, the gate leaves the slow ones out.
leg_neon() {
    .ci/neon
}

leg_asan() {
    .ci/sanitize --no-fail-fast
}

# Races among plain threads, in a build whose fences ThreadSanitizer sees (`src/sync/traced.rs`), with a standard library that is built
# with it too, or an Arc's last owner would be reported. Any report fails: none is explained away.
leg_tsan() {
    rustup component add rust-src --toolchain nightly || return 1
    RUSTFLAGS="-Zsanitizer=thread --cfg upbeat_tsan -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_PROFILE_RELEASE_LTO=off \
        cargo +nightly build -Zbuild-std -p upbeat-stress --bin upbeat-stress --release \
        --target "$target" --target-dir target/tsan &&
        TSAN_OPTIONS="history_size=4 exitcode=66" \
            "target/tsan/$target/release/upbeat-stress" --joins 20000000 --steals 50000 --seconds "$seconds"
}

# Without unwinding (fault 9): the stress as it is, and a panic in each kind of task, which must end the process.
leg_abort() {
    cargo build -p upbeat-stress --profile abort &&
        "$built/abort/upbeat-stress" --joins 50000000 --steals 10000 --seconds "$seconds" &&
        "$built/abort/upbeat-panics"
}

# 10^9 joins and 10^7 real steals, 10^9 items of batches, then random programs.
leg_stress() {
    cargo run -p upbeat-stress --bin upbeat-stress --release -- --seconds "$seconds" &&
        cargo run -p upbeat-stress --bin upbeat-stress --release -- --phase batches --items 1000000000 --joins 0 --steals 0 \
            --seconds "$seconds" &&
        UPBEAT_STRESS_SECONDS=$seconds cargo test -p upbeat --release --test stress
}

# The math functions on every input.
leg_exhaustive() {
    UPBEAT_EXHAUSTIVE=1 cargo test -p upbeat-kernels --release --test math
}

# Inputs that libFuzzer finds for the kernels' shapes, products and attention (`kernels/tests/fuzz_targets`), under AddressSanitizer.
leg_fuzz() {
    local target status=0
    cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked || return 1
    for target in layout gemm attention; do
        (cd fuzz && cargo +nightly fuzz run "$target" -- -max_total_time="$((seconds / 3))" -max_len=256) || status=1
    done
    return $status
}

all=(models modes neon asan tsan abort stress exhaustive fuzz)
if [ "${1:-}" = list ]; then
    printf '%s\n' "${all[@]}"
    exit 0
fi
legs=("$@")
[ ${#legs[@]} -gt 0 ] || legs=("${all[@]}")
failed=()
summary=()
for leg in "${legs[@]}"; do
    declare -F "leg_$leg" >/dev/null || { echo "no such leg: $leg (${all[*]})" >&2; exit 2; }
    from=$SECONDS
    echo "=== $leg"
    if "leg_$leg"; then result=passed; else result=FAILED; failed+=("$leg"); fi
    summary+=("$leg: $result, $((SECONDS - from)) s")
    echo "=== ${summary[-1]}"
done
printf '%s\n' "$(rustc --version), $(nproc) CPUs, commit $(git rev-parse --short HEAD)" "${summary[@]}"
[ ${#failed[@]} -eq 0 ]
