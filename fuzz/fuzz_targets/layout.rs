//! libFuzzer's target `layout`; its body is the kernels' tests'.
#![no_main]
#![allow(missing_docs)]

#[path = "../../kernels/tests/fuzz_targets/mod.rs"]
#[allow(dead_code)]
mod fuzz_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::layout::run(data));
