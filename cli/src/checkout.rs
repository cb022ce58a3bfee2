//! Finds the checkout that the current folder belongs to, whose text is the default to train on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The nearest folder at or above `start` whose `Cargo.toml` declares a workspace.
fn workspace_above(start: &Path) -> Option<PathBuf> {
    let declares = |folder: &&Path| {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|t| t.lines().any(|l| l.trim() == "[workspace]"))
    };
    start.ancestors().find(declares).map(Path::to_path_buf)
}

/// The root of the checkout.
///
/// # Errors
/// No Cargo workspace at or above the current folder.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    let start = std::env::current_dir()
        .map_err(|e| Failure::Input(format!("the current folder cannot be read: {e}; pass --text PATH")))?;
    workspace_above(&start).ok_or_else(|| {
        let start = start.display();
        Failure::Input(format!(
            "there is no Cargo workspace at or above {start} to take text from; pass --text PATH"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_crate_is_in_a_checkout() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(workspace_above(&own.join("src/train")).as_deref(), own.parent());
        assert_eq!(workspace_above(Path::new("/")), None);
    }
}
