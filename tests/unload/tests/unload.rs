//! A library that used the runtime can be unloaded after it has shut it down: no thread of it runs on, no destructor and no handler
//! of it is called later. While its global runtime has threads, to close it leaves it where it is.
//!
//! In processes of their own, which is also how an unmapped page that somebody still needs is noticed.
#![cfg(target_os = "linux")]
// Libraries are the operating system's to load.
#![allow(unsafe_code)]

#[path = "../../support/mod.rs"]
mod support;

use std::ffi::{c_void, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Cargo builds it with the tests, into the folder that they are in.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.with_file_name("libupbeat_unload.so")
}

fn is_mapped() -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains("libupbeat_unload.so")
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// The library, loaded.
struct Loaded(*mut c_void);

impl Loaded {
    fn new() -> Self {
        let path = CString::new(library().as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends in NUL; what the library runs when it is loaded is the standard library's.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{} cannot be loaded", library().display());
        assert!(is_mapped());
        Self(handle)
    }

    fn function(&self, name: &str) -> extern "C" fn() -> u64 {
        let symbol = CString::new(name).unwrap();
        // SAFETY: the handle is open, and the name ends in NUL.
        let address = unsafe { libc::dlsym(self.0, symbol.as_ptr()) };
        assert!(!address.is_null(), "{name} is not in the library");
        // SAFETY: both functions that the library exports are of this type.
        unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> u64>(address) }
    }

    fn close(self) {
        // SAFETY: the handle is open, and nothing of the library is called afterwards but what the test is about.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}

/// Runs the test `name` in a process of its own.
fn alone(name: &str, test: impl FnOnce()) {
    match support::role() {
        None => support::assert_passed(&support::rerun(name, "unload").output().unwrap()),
        Some(_) => support::watched(name, test),
    }
}

/// Forks a child that leaves at once: the handlers of a library that is gone would be called in it.
fn fork() {
    // SAFETY: the child leaves at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the process.
        unsafe { libc::_exit(3) }
    }
    let mut status = 0;
    // SAFETY: `status` is an integer to write to.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 3, "the child ended with {status:#x}");
}

const ANSWER: u64 = 6765 + 4950 + 10 + 7 + 49_995_000;

/// Fault 45.
#[test]
fn a_library_that_has_shut_its_runtime_down_is_unloaded() {
    alone("a_library_that_has_shut_its_runtime_down_is_unloaded", || {
        let before = threads();
        for _ in 0..20 {
            let library = Loaded::new();
            let used = library.function("upbeat_unload_use_and_shut_down");
            // On a thread that ends: what the C library keeps for a thread until its end keeps the library as well.
            assert_eq!(thread::spawn(move || used()).join().unwrap(), ANSWER);
            support::until(|| threads() == before);
            library.close();
            assert!(!is_mapped(), "the library is still there");
            fork();
        }
    });
}

/// Fault 45: the thread that called it lives on, and with it what the library has left on that thread.
#[test]
fn a_library_may_be_closed_by_a_thread_that_used_it() {
    alone("a_library_may_be_closed_by_a_thread_that_used_it", || {
        let before = threads();
        for _ in 0..20 {
            let library = Loaded::new();
            assert_eq!(library.function("upbeat_unload_use_and_shut_down")(), ANSWER);
            support::until(|| threads() == before);
            library.close();
            fork();
        }
    });
}

/// Fault 45: the global runtime is never shut down; its threads keep the library loaded.
#[test]
fn a_library_with_a_global_runtime_stays_when_it_is_closed() {
    alone("a_library_with_a_global_runtime_stays_when_it_is_closed", || {
        let library = Loaded::new();
        let used = library.function("upbeat_unload_use_global");
        assert_eq!(thread::spawn(move || used()).join().unwrap(), 3);
        library.close();
        assert!(is_mapped(), "its workers' code is gone");
        // Longer than any worker watches before it sleeps for good.
        thread::sleep(Duration::from_millis(300));
        assert_eq!(used(), 3);
        fork();
    });
}
