//! A package with `links` must have a build script; this one has nothing to build. `links` keeps a second `rayon-core`, with
//! threads of its own, out of a program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}
