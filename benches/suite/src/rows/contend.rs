//! Stamps out the contenders of a workload that is written with joins.

/// The contenders of a body on the runtimes of `$set`, with the runtime entered once a batch; with `each`, once a call.
/// `|$state in $cell|` gives them turns with a `RefCell`. With `both`, each runtime also runs with the sides of its joins swapped, as
/// sequential code does anyway: the better order of each is what counts.
macro_rules! contenders {
    ($set:expr, $(|$state:ident in $cell:ident|)? $body:ident($($argument:expr),*)) => {{
        let mut list = contenders!(@sequential $(|$state in $cell|)? $body($($argument),*));
        contenders!(@batch list, $set, on_upbeat, on_chili, on_rayon, "", $(|$state in $cell|)? $body($($argument),*));
        list
    }};
    (both $set:expr, $body:ident($($argument:expr),*)) => {{
        let mut list = contenders!($set, $body($($argument),*));
        contenders!(
            @batch list, $set, on_upbeat_swapped, on_chili_swapped, on_rayon_swapped, ", sides swapped",
            $body($($argument),*)
        );
        list
    }};
    (
        @batch $list:ident, $set:expr, $upbeat:ident, $chili:ident, $rayon:ident, $how:literal,
        $(|$state:ident in $cell:ident|)? $body:ident($($argument:expr),*)
    ) => {
        $list.push(contender!(concat!("upbeat", $how), Ours, |times| {
            $(let $state = &mut *$cell.borrow_mut();)?
            $set.upbeat.install(|worker| crate::timing::repeat(times, || crate::workloads::$upbeat::$body(worker, $($argument),*)))
        }));
        #[cfg(feature = "peers")]
        $list.push(contender!(concat!("chili", $how), Peer, |times| {
            $(let $state = &mut *$cell.borrow_mut();)?
            let mut scope = $set.chili.scope();
            crate::timing::repeat(times, || crate::workloads::$chili::$body(&mut scope, $($argument),*))
        }));
        #[cfg(feature = "peers")]
        $list.push(contender!(concat!("rayon", $how), Peer, |times| {
            $(let $state = &mut *$cell.borrow_mut();)?
            $set.rayon.install(|| crate::timing::repeat(times, || crate::workloads::$rayon::$body((), $($argument),*)))
        }));
    };
    (each $set:expr, $body:ident($($argument:expr),*)) => {{
        #[allow(unused_mut)]
        let mut list = contenders!(@sequential $body($($argument),*));
        list.push(contender!("upbeat", Ours, |times| {
            crate::timing::repeat(times, || $set.upbeat.install(|worker| crate::workloads::on_upbeat::$body(worker, $($argument),*)))
        }));
        #[cfg(feature = "peers")]
        list.push(contender!("chili", Peer, |times| {
            crate::timing::repeat(times, || crate::workloads::on_chili::$body(&mut $set.chili.scope(), $($argument),*))
        }));
        #[cfg(feature = "peers")]
        list.push(contender!("rayon", Peer, |times| {
            crate::timing::repeat(times, || $set.rayon.install(|| crate::workloads::on_rayon::$body((), $($argument),*)))
        }));
        list
    }};
    (@sequential $(|$state:ident in $cell:ident|)? $body:ident($($argument:expr),*)) => {
        vec![
            contender!("sequential", Sequential, |times| {
                $(let $state = &mut *$cell.borrow_mut();)?
                crate::timing::repeat(times, || crate::workloads::sequential::$body((), $($argument),*))
            }),
            contender!("sequential, right first", Sequential, |times| {
                $(let $state = &mut *$cell.borrow_mut();)?
                crate::timing::repeat(times, || crate::workloads::right_first::$body((), $($argument),*))
            }),
        ]
    };
}

macro_rules! contender {
    ($name:expr, $kind:ident, $body:expr) => {
        crate::rows::Contender { name: $name, kind: crate::rows::Kind::$kind, body: Box::new($body) }
    };
}
