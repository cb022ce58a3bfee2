//! What the documents promise about the tree, checked against the tree: the list of unsafe modules, the list of
//! dependencies, links, environment variables, and the form of files.
//!
//! Each test reads files and says every place where document and tree disagree. How they are read is in `tree.rs`.

mod tree;

use std::collections::{BTreeMap, BTreeSet};

use tree::Tree;

/// Most lines a file may have.
const LONGEST: usize = 500;

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// What tests set to talk to children of their own is nobody else's business.
const OWN: &str = "UPBEAT_TEST_";

/// The two-way difference of a document's list and the tree's.
fn assert_same(document: &str, listed: &BTreeSet<String>, found: &BTreeSet<String>) {
    let missing: Vec<_> = found.difference(listed).cloned().collect();
    assert_none(&format!("in the tree, but not in {document}"), &missing);
    let gone: Vec<_> = listed.difference(found).cloned().collect();
    assert_none(&format!("in {document}, but not in the tree"), &gone);
}

#[test]
fn every_module_that_allows_unsafe_code_is_listed_and_no_other() {
    let tree = Tree::read();
    let found: BTreeSet<_> = tree.of_kind("rs").flat_map(|file| tree.unsafe_modules(file)).collect();
    assert!(found.contains("src/task/job.rs"), "the search itself works: {found:?}");
    assert_same("docs/unsafe.md", &tree.first_column("docs/unsafe.md"), &found);
}

/// The list above is complete only where the lint holds.
#[test]
fn every_crate_takes_the_workspace_lints() {
    let tree = Tree::read();
    let deaf = |text: &str| !text.contains("[lints]\nworkspace = true\n");
    let found: Vec<_> = tree.manifests().filter(|(_, text)| deaf(text)).map(|(path, _)| path).collect();
    assert_none("crates without `[lints] workspace = true`", &found);
    assert!(tree.text("Cargo.toml").contains("\nunsafe_code = \"deny\"\n"), "the lint denies unsafe code");
}

#[test]
fn every_direct_dependency_is_listed_with_its_version_and_no_other() {
    let tree = Tree::read();
    let mut found = BTreeSet::new();
    for (path, text) in tree.manifests() {
        let versions = tree.locked_versions(&path);
        for name in tree::dependencies(&text).into_iter().filter(|name| !name.starts_with("upbeat")) {
            let version = versions.get(&name).unwrap_or_else(|| panic!("{path}: {name} is not locked"));
            found.insert(format!("{name} {version}"));
        }
    }
    assert!(found.iter().any(|d| d.starts_with("crossbeam-deque ")), "the search itself works: {found:?}");
    let listed = tree.rows("docs/dependencies.md").into_iter().filter(|row| row.len() > 1);
    let listed = listed.map(|row| format!("{} {}", row[0], row[1])).collect();
    assert_same("docs/dependencies.md", &listed, &found);
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let tree = Tree::read();
    let mut broken = Vec::new();
    let mut links = 0;
    for file in tree.of_kind("md") {
        for target in tree::links(&tree.text(file)) {
            links += 1;
            broken.extend(tree.broken(file, &target).map(|why| format!("{file}: {target} ({why})")));
        }
    }
    assert!(links > 20, "the search itself works: {links} links");
    assert_none("broken links", &broken);
}

/// A row of the table of faults names its tests as `` `tests/file.rs`: `name`, `beginning_*` ``.
#[test]
fn every_test_that_the_table_of_faults_names_exists() {
    let tree = Tree::read();
    let mut gone = Vec::new();
    let mut named = 0;
    for (file, test) in tree::named_tests(&tree.text("docs/faults.md")) {
        named += 1;
        let (beginning, any) = test.strip_suffix('*').map_or((&*test, false), |name| (name, true));
        let declared = if any { format!("fn {beginning}") } else { format!("fn {beginning}()") };
        if !tree.has(&file) || !tree.text(&file).contains(&declared) {
            gone.push(format!("{file}: {test}"));
        }
    }
    assert!(named > 20, "the search itself works: {named} tests");
    assert_none("named in docs/faults.md, but not in the tree", &gone);
}

/// Fields, functions, models and mutations alike: a name in `docs/memory-ordering.md` stands in the code that it speaks of.
#[test]
fn every_name_in_the_tables_of_orderings_exists() {
    let tree = Tree::read();
    let code: String = tree
        .of_kind("rs")
        .filter(|file| file.starts_with("src/") || file.starts_with("loom-tests/"))
        .map(|file| tree.text(file))
        .collect();
    let names = tree::names(&tree.text("docs/memory-ordering.md"));
    assert!(names.len() > 40, "the search itself works: {names:?}");
    let gone: Vec<_> = names.into_iter().filter(|name| !code.contains(name.trim_end_matches('*'))).collect();
    assert_none("named in docs/memory-ordering.md, but not in the code", &gone);
}

#[test]
fn every_environment_variable_is_explained() {
    let tree = Tree::read();
    let documents = tree.text("README.md") + &tree.text("CONTRIBUTING.md");
    let mut unknown: BTreeMap<String, &str> = BTreeMap::new();
    for file in tree.of_kind("rs") {
        for name in tree::variables(&tree.text(file)) {
            if !name.starts_with(OWN) && !documents.contains(&format!("`{name}")) {
                unknown.insert(name, file);
            }
        }
    }
    let unknown: Vec<_> = unknown.into_iter().map(|(name, file)| format!("{name} ({file})")).collect();
    assert_none("variables that neither README.md nor CONTRIBUTING.md explains", &unknown);
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let tree = Tree::read();
    let mut bad = Vec::new();
    for kind in ["rs", "md", "sh", "toml"] {
        for file in tree.of_kind(kind) {
            let lines = tree.text(file).lines().count();
            if lines > LONGEST {
                bad.push(format!("{file} has {lines} lines; the most is {LONGEST}"));
            }
        }
    }
    for file in tree.of_kind("rs") {
        let text = tree.text(file);
        let mut lines = text.lines().filter(|line| !line.starts_with("#![") && !line.trim().is_empty());
        if !lines.next().is_some_and(|line| line.starts_with("//!")) {
            bad.push(format!("{file} does not open with `//!`"));
        }
    }
    assert_none("files out of form", &bad);
}

/// `unwrap` and a `main` that returns an error print its `Debug`. Derived, it would hide the sentence that says what to do.
#[test]
fn every_error_shows_its_sentence_to_who_unwraps() {
    let tree = Tree::read();
    // As rayon has it.
    let ours = |file: &&str| !file.starts_with("compat/") && !file.contains("/tests/");
    let (mut found, mut hidden) = (0, Vec::new());
    for file in tree.of_kind("rs").filter(ours) {
        let text = tree.text(file);
        for name in text.lines().filter_map(tree::error_of) {
            found += 1;
            if !text.contains(&format!("\"{name}({{self}})\"")) {
                hidden.push(format!("{file}: {name} has no Debug `{name}(sentence)`"));
            }
        }
    }
    assert!(found > 30, "the search itself works: {found} errors");
    assert_none("errors that hide their sentence", &hidden);
}
