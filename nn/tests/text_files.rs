//! Which files become text, in which order, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use upbeat_nn::data::files::DEFAULT_EXTENSIONS;
use upbeat_nn::data::{read_texts, DataError};

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Self {
        let root = std::env::temp_dir().join(format!("upbeat-text-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self(root)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn extensions() -> Vec<String> {
    DEFAULT_EXTENSIONS.map(String::from).to_vec()
}

fn read(paths: &[&Path]) -> Result<Vec<(PathBuf, String)>, DataError> {
    let paths: Vec<_> = paths.iter().map(|p| p.to_path_buf()).collect();
    Ok(read_texts(&paths, &extensions())?.into_iter().map(|t| (t.path, t.content)).collect())
}

#[test]
fn folders_are_read_in_name_order_without_build_output_and_hidden_names() {
    let folder = Folder::new(
        "order",
        &[
            ("b.rs", b"b"),
            ("a/z.md", b"z"),
            ("a.rs", b"a"),
            ("A.rs", b"A"),
            ("a/notes.txt", b"no"),
            ("target/x.rs", b"no"),
            (".git/x.rs", b"no"),
            (".hidden.rs", b"no"),
            ("built/CACHEDIR.TAG", b""),
            ("built/x.rs", b"no"),
            ("rs", b"no"),
        ],
    );
    let found = read(&[&folder.0]).unwrap();
    let names: Vec<_> =
        found.iter().map(|(p, _)| p.strip_prefix(&folder.0).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["A.rs", "a/z.md", "a.rs", "b.rs"]);
    assert_eq!(found.iter().map(|(_, c)| &c[..]).collect::<String>(), "Azab");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_so_that_cycles_end() {
    let folder = Folder::new("links", &[("a/x.rs", b"x")]);
    std::os::unix::fs::symlink(&folder.0, folder.0.join("a/up")).unwrap();
    std::os::unix::fs::symlink(folder.0.join("a/x.rs"), folder.0.join("y.rs")).unwrap();
    assert_eq!(read(&[&folder.0]).unwrap().len(), 1);
}

#[test]
fn a_named_file_is_read_whatever_its_ending_and_bytes() {
    let folder = Folder::new("named", &[("data", b"caf\xC3\xA9 \xFF."), ("x.rs", b"x")]);
    let found = read(&[&folder.0.join("x.rs"), &folder.0.join("data")]).unwrap();
    assert_eq!(found[0].1, "x");
    assert_eq!(found[1].1, "café \u{FFFD}.", "bytes that are not UTF-8 are replaced");
}

#[test]
fn missing_empty_and_unsuitable_texts_are_refused_in_one_line() {
    let folder = Folder::new("refused", &[("empty.rs", b""), ("words/x.txt", b"hello")]);
    let errors = [
        read(&[&folder.0.join("nothing")]).unwrap_err(),
        read(&[&folder.0.join("empty.rs")]).unwrap_err(),
        read(&[&folder.0.join("words")]).unwrap_err(),
        read(&[]).unwrap_err(),
    ];
    assert!(matches!(errors[0], DataError::Missing(_)));
    assert!(matches!(errors[1], DataError::Empty { files: 1 }));
    assert!(matches!(&errors[2], DataError::NoFiles { .. }));
    assert!(errors[2].to_string().contains(".rs or .md"));
    assert!(errors.iter().all(|e| !e.to_string().contains('\n')));
}

#[cfg(unix)]
#[test]
fn a_device_is_not_a_text() {
    assert!(matches!(read(&[Path::new("/dev/zero")]), Err(DataError::NotAFile(_))));
}
