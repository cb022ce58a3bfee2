//! Loom models of the runtime, one file under `tests/` a protocol.
