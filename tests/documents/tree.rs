//! Reads the checkout: its files, and what Markdown, Cargo manifests and attributes say, as far as the promises need it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The files of the checkout by path relative to its root, `/` between parts.
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// Lists the files below the root of the workspace, without hidden ones and what programs write there.
    pub(crate) fn read() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut tree = Self { files: Vec::new(), root };
        tree.walk(String::new());
        tree.files.sort();
        tree
    }

    fn walk(&mut self, folder: String) {
        let entries = fs::read_dir(self.root.join(&folder)).expect("the checkout is readable");
        for entry in entries {
            let entry = entry.expect("the checkout is readable");
            let name = entry.file_name().into_string().expect("names in the checkout are UTF-8");
            if name.starts_with('.') || ["target", "upbeat-out"].contains(&&*name) {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            match entry.file_type().expect("the checkout is readable").is_dir() {
                true => self.walk(path),
                false => self.files.push(path),
            }
        }
    }

    /// Paths of the files that end in `.kind`.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let matches = move |file: &&str| Path::new(file).extension().is_some_and(|found| found == kind);
        self.files.iter().map(String::as_str).filter(matches)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.files.iter().any(|found| found == file)
    }

    /// A file's content.
    pub(crate) fn text(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Every Cargo manifest: path and text.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let manifests = self.files.iter().filter(|file| file.rsplit('/').next() == Some("Cargo.toml"));
        manifests.map(|file| (file.clone(), self.text(file)))
    }

    /// The cells of each row of each table in a document, without its heads; code marks are taken off.
    pub(crate) fn rows(&self, document: &str) -> Vec<Vec<String>> {
        let text = self.text(document);
        let rows = prose(&text).filter(|line| line.starts_with("| `"));
        let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
        rows.map(|row| row.trim().trim_matches('|').split('|').map(cell).collect()).collect()
    }

    /// The first cells of [`rows`](Self::rows).
    pub(crate) fn first_column(&self, document: &str) -> BTreeSet<String> {
        self.rows(document).into_iter().map(|row| row[0].clone()).collect()
    }

    /// The files or folders of modules for which `file` takes back the denial of unsafe code.
    pub(crate) fn unsafe_modules(&self, file: &str) -> Vec<String> {
        let text = self.text(file);
        let mut found = Vec::new();
        let mut allowed = false;
        for line in text.lines().map(str::trim) {
            let lifts = line.contains("allow(") || line.contains("expect(");
            let attribute = line.starts_with('#') && lifts && line.contains("unsafe_code");
            if attribute && line.starts_with("#![") {
                found.push(file.to_owned());
            } else if attribute {
                allowed = true;
            } else if allowed && !line.starts_with('#') && !line.starts_with("//") {
                allowed = false;
                found.push(self.module(file, line).unwrap_or_else(|| file.to_owned()));
            }
        }
        found
    }

    /// The file or folder of the module that `line` of `file` declares.
    fn module(&self, file: &str, line: &str) -> Option<String> {
        let name = line.strip_suffix(';')?.rsplit_once("mod ")?.1;
        let path = Path::new(file);
        let stem = path.file_stem()?.to_str()?;
        let folder = match stem {
            "mod" | "lib" | "main" => path.parent()?.to_path_buf(),
            other => path.with_file_name(other),
        };
        let folder = folder.join(name).to_str()?.replace('\\', "/");
        let single = format!("{folder}.rs");
        Some(if self.files.contains(&single) { single } else { folder })
    }

    /// Each package's version in the `Cargo.lock` that `manifest` goes by; of several the last.
    pub(crate) fn locked_versions(&self, manifest: &str) -> BTreeMap<String, String> {
        // `compat` is a workspace of its own.
        let own = manifest.strip_suffix("Cargo.toml").map(|folder| format!("{folder}Cargo.lock"));
        let text = self.text(&own.filter(|lock| self.has(lock)).unwrap_or_else(|| "Cargo.lock".to_owned()));
        let value = |line: &str, key: &str| {
            Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
        };
        let names = text.lines().filter_map(|line| value(line, "name"));
        // The file's own format version is no string, so the lists go together.
        names.zip(text.lines().filter_map(|line| value(line, "version"))).collect()
    }

    /// Why a link in `file` leads nowhere, if it does. Links into the web are not followed.
    pub(crate) fn broken(&self, file: &str, target: &str) -> Option<String> {
        if target.contains("://") || target.starts_with("mailto:") {
            return None;
        }
        let (path, heading) = target.split_once('#').unwrap_or((target, ""));
        let from = Path::new(file).parent().expect("a file has a folder");
        let path = if path.is_empty() { PathBuf::from(file) } else { from.join(path) };
        let Some(path) = normal(&path) else { return Some("outside the checkout".into()) };
        if !self.root.join(&path).exists() {
            return Some("no such file".into());
        }
        let known = heading.is_empty() || headings(&self.text(&path)).contains(heading);
        (!known).then(|| "no such heading".into())
    }
}

/// `path` without `.` and `..`; `None` when it leaves the root.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// The lines of a Markdown text outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The type for which a line of Rust implements `Error`.
pub(crate) fn error_of(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl ")?;
    let name = rest.strip_prefix("std::error::Error for ").or_else(|| rest.strip_prefix("Error for "))?;
    Some(name.split([' ', '<', '{']).next().unwrap_or(name))
}

/// The targets of a Markdown text's links.
pub(crate) fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // What stands between code marks is no link.
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(targets.map(|(target, _)| target.trim().to_owned()));
    }
    found
}

/// The anchors of a Markdown text's headings: lower case, hyphens for spaces, no other marks.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    let anchor = |title: &str| {
        let kept = title.trim().to_lowercase();
        let kept = kept.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    titles.map(anchor).collect()
}

/// The dependencies that a Cargo manifest names for its own package, for any target, and for building and testing.
pub(crate) fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_matches(|c| c == '[' || c == ']');
            let kind = section.rsplit('.').next().unwrap_or(section);
            inside = kind.ends_with("dependencies") && section != "workspace.dependencies";
            // A dependency with a section of its own, as in `[dependencies.name]`.
            if let Some((table, name)) = section.rsplit_once('.') {
                found.extend(table.ends_with("dependencies").then(|| name.to_owned()));
            }
        } else if inside && line.contains('=') && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or(line);
            found.push(name.trim_matches('"').to_owned());
        }
    }
    found
}

/// The environment variables of the project whose names stand in quotes.
pub(crate) fn variables(code: &str) -> Vec<String> {
    let after = code.split("\"UPBEAT_").skip(1);
    let names =
        after.map(|rest| rest.split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap_or(""));
    names.filter(|name| !name.is_empty()).map(|name| format!("UPBEAT_{name}")).collect()
}

/// Each test that a table names after its file, both in code marks: `(file, test)`.
pub(crate) fn named_tests(table: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for row in table.lines().filter(|line| line.starts_with('|')) {
        let mut file = None;
        for code in row.split('`').skip(1).step_by(2) {
            let is_name = code.chars().all(|c| c.is_ascii_alphanumeric() || "_*".contains(c));
            if code.ends_with(".rs") {
                file = Some(code.to_owned());
            } else if let (true, true, Some(file)) = (is_name, code.contains('_'), &file) {
                found.push((file.clone(), code.to_owned()));
            }
        }
    }
    found
}

/// The names with an underscore that stand in code marks, `*` at the end for any ending.
pub(crate) fn names(text: &str) -> BTreeSet<String> {
    let is_name = |code: &&str| {
        code.contains('_')
            && code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_*".contains(c))
    };
    let rows = text.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter(is_name).map(str::to_owned).collect()
}
