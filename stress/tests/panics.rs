//! `upbeat-panics`, built as tests are, with unwinding. The nightly run (`ci/nightly.sh abort`) builds it without.

use std::process::Command;

// Fault 9.
#[test]
fn a_panic_in_any_kind_of_task_ends_the_process() {
    let output = Command::new(env!("CARGO_BIN_EXE_upbeat-panics")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
