//! The shared test helpers do what the kernels' tests rely on.

mod common;

use common::{at_every_level, Numbers, PageEnd};
use upbeat_kernels::Isa;

#[test]
fn every_level() {
    at_every_level();
}

#[test]
fn the_level_asked_for_is_the_active_one() {
    let asked = std::env::var("UPBEAT_ISA").ok().filter(|name| !name.is_empty());
    let asked = asked.unwrap_or_else(|| Isa::detect().name().into());
    assert_eq!(Isa::active().name(), asked);
}

#[test]
fn a_guarded_slice_ends_at_its_page() {
    let from = Numbers::new(1).vector(1500);
    let mut guarded = PageEnd::copied(&from);
    guarded[1499] = 2.0;
    assert_eq!((&guarded[..1499], guarded[1499]), (&from[..1499], 2.0));
    assert_eq!((guarded.as_ptr_range().end as usize) % 4096, 0);
    assert!(PageEnd::<f32>::copied(&[]).is_empty());
}
