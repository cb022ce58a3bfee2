//! Switches in the environment: on, off, or a sentence that says what is neither.

use std::ffi::OsStr;

use crate::error::{Reason, VulkanUnavailable};

/// What a word means, letters' case and spaces around aside: on or off, or nothing.
fn parse(word: &str) -> Option<Option<bool>> {
    match word.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(Some(true)),
        "0" | "false" | "no" | "off" => Some(Some(false)),
        "" => Some(None),
        _ => None,
    }
}

/// Whether `variable`, which is `value`, is on or off; `None` where it says nothing.
///
/// # Errors
/// A value that is neither on nor off.
pub(crate) fn switch(variable: &'static str, value: &OsStr) -> Result<Option<bool>, VulkanUnavailable> {
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
    let variable = "UPBEAT_REQUIRE_VULKAN";
    let required = switch(variable, &std::env::var_os(variable).unwrap_or_default());
    required.unwrap_or_else(|error| panic!("{error}")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_or_off_or_refused() {
        for (word, found) in [
            ("1", Some(Some(true))),
            ("true", Some(Some(true))),
            ("YES", Some(Some(true))),
            (" on ", Some(Some(true))),
            ("", Some(None)),
            ("  ", Some(None)),
            ("0", Some(Some(false))),
            ("False", Some(Some(false))),
            ("no", Some(Some(false))),
            ("OFF", Some(Some(false))),
            ("2", None),
            ("ja", None),
            ("1 0", None),
        ] {
            assert_eq!(parse(word), found, "{word:?}");
        }
    }
}
