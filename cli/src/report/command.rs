//! Command lines that a user can paste: the one just run, made to resume.

/// The command line `arguments`, with `--resume` and without `--stop-after`.
pub(super) fn resuming(arguments: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut skip = false;
    for argument in arguments {
        if std::mem::take(&mut skip) || argument.starts_with("--stop-after=") || argument == "--resume" {
            continue;
        }
        if argument == "--stop-after" {
            skip = true;
            continue;
        }
        words.push(quoted(&argument));
    }
    words.push("--resume".to_owned());
    words.join(" ")
}

/// `word` as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_goes_on_where_it_stopped() {
        let given = [
            "target/release/upbeat",
            "train",
            "--text",
            "my notes",
            "it's",
            "--stop-after",
            "10",
            "--out",
            "o",
        ];
        assert_eq!(
            resuming(given.into_iter().chain(["--stop-after=3", "--resume"]).map(str::to_owned)),
            r"target/release/upbeat train --text 'my notes' 'it'\''s' --out o --resume"
        );
    }
}
