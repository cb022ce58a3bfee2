//! Switches in the environment: on, off, or a sentence that says what is neither.

use crate::error::{Reason, VulkanUnavailable};

/// What a word means, letters' case and spaces around aside. Nothing is off.
fn parse(word: &str) -> Option<bool> {
    match word.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "" | "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Whether `variable` is on.
///
/// # Errors
/// A value that is neither on nor off.
pub(crate) fn switch(variable: &'static str) -> Result<bool, VulkanUnavailable> {
    let value = std::env::var_os(variable).unwrap_or_default();
    let value = value.to_string_lossy();
    let reason = || Reason::Environment { variable, value: value.clone().into_owned() };
    parse(&value).ok_or_else(|| VulkanUnavailable { reason: reason() })
}

/// Whether tests of this repository must find a device: `UPBEAT_REQUIRE_VULKAN`.
///
/// # Panics
/// When its value is neither on nor off: a test that is skipped by mistake would be taken for one that passed.
#[doc(hidden)]
pub fn is_required() -> bool {
    switch("UPBEAT_REQUIRE_VULKAN").unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_or_off_or_refused() {
        for (word, found) in [
            ("1", Some(true)),
            ("true", Some(true)),
            ("YES", Some(true)),
            (" on ", Some(true)),
            ("", Some(false)),
            ("0", Some(false)),
            ("False", Some(false)),
            ("no", Some(false)),
            ("OFF", Some(false)),
            ("2", None),
            ("ja", None),
            ("1 0", None),
        ] {
            assert_eq!(parse(word), found, "{word:?}");
        }
    }
}
