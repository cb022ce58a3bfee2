#!/usr/bin/env bash
# Runs the published tests of rayon and rayon-core on this crate. Needs cargo and the registry, nothing else.
#
#   tests.sh             both packages
#   tests.sh rayon-core  one of them (or: rayon)
#
# rayon's package is tested as it is, with this crate in place of rayon-core. rayon-core's own tests are put beside a copy of
# our sources, because some look inside: at `unwind::halt_unwinding`, `registry::in_worker`, `ThreadPool`'s `registry`.
set -euo pipefail

RAYON=1.12.0
CORE=1.13.0
here=$(cd "$(dirname "$0")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target}
work=$CARGO_TARGET_DIR/published
what=${1:-both}
rm -rf "$work"
mkdir -p "$work/fetch/src"

cat > "$work/fetch/Cargo.toml" <<EOF
[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
[dependencies]
rayon = "=$RAYON"
rayon-core = "=$CORE"
[workspace]
EOF
touch "$work/fetch/src/lib.rs"

# The folder that cargo unpacked a package into.
package() {
    cargo metadata --quiet --format-version 1 --manifest-path "$work/fetch/Cargo.toml" |
        grep -o "\"manifest_path\":\"[^\"]*/$1/Cargo.toml\"" | head -n 1 | sed 's/^"manifest_path":"//; s/\/Cargo.toml"$//'
}

rayon() {
    cp -R "$(package "rayon-$RAYON")" "$work/rayon"
    cd "$work/rayon"
    rm -f Cargo.lock
    printf '\n[workspace]\n[patch.crates-io]\nrayon-core = { path = "%s" }\n' "$here" >> Cargo.toml
    cargo test --quiet --lib --tests
    cargo tree --quiet --invert rayon-core | head -n 1 # says where rayon-core came from
}

core() {
    local published
    published=$(package "rayon-core-$CORE")
    mkdir "$work/core"
    cp -R "$here/src" "$here/build.rs" "$work/core"
    cd "$work/core"
    # Our lints are not theirs.
    sed "s|path = \"../..\"|path = \"$here/../..\"|; /^\[lints\]/,/^$/d" "$here/Cargo.toml" > Cargo.toml
    cat >> Cargo.toml <<'EOF'
[dev-dependencies]
crossbeam-utils = "0.8"
libc = "0.2"
rand = "0.9"
rand_xorshift = "0.4"
scoped-tls = "1.0"
EOF
    for module in broadcast join scope spawn thread_pool; do
        mkdir -p "src/$module"
        cp "$published/src/$module/test.rs" "src/$module/test.rs"
        # The published modules import what their tests find by `use super::*`.
        printf '\n#[cfg(test)]\n#[allow(unused_imports)]\nuse crate::unwind;\n#[cfg(test)]\nmod test;\n' >> "src/$module.rs"
    done
    # These two import it themselves already.
    for module in scope; do
        sed -i.orig '/^#\[cfg(test)\]$/{N;/allow(unused_imports)/{N;d;};}' "src/$module.rs"
    done
    cp "$published/src/test.rs" src/test.rs
    cp -R "$published/src/compile_fail" src/compile_fail
    printf '\nmod compile_fail;\n#[cfg(test)]\nmod test;\n' >> src/lib.rs
    cp -R "$published/tests" tests
    cargo test --quiet --lib --tests
    cargo test --quiet --doc # among them: what must not compile
}

case $what in
    both) (rayon) && (core) ;;
    rayon) rayon ;;
    rayon-core) core ;;
    *) echo "tests.sh [rayon | rayon-core]" >&2 && exit 2 ;;
esac
