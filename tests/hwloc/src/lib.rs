//! Nothing but the example in the documentation of upbeat's feature `hwloc`, which is run here; the tests are in `tests/`.
#![cfg_attr(all(doctest, feature = "hwloc"), doc = include_str!("../../../src/topology/hwloc.md"))]
