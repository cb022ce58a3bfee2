//! A join: two things at once, here the halves of a merge sort. Run with `cargo run --release --example join`.

/// Sorts `data`; halves are sorted in parallel when a core is idle, else one after the other at no cost.
fn merge_sort(data: &mut [u64]) {
    if data.len() <= 32 {
        return data.sort_unstable();
    }
    let middle = data.len() / 2;
    let (left, right) = data.split_at_mut(middle);
    upbeat::join(|| merge_sort(left), || merge_sort(right));
    let (left, right) = (left.to_vec(), right.to_vec());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    for slot in data {
        let take_left = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => a <= b,
            (a, _) => a.is_some(),
        };
        *slot = if take_left { left.next() } else { right.next() }.expect("one of them is not empty");
    }
}

fn main() {
    // A fixed permutation of 0..2^18: multiplying by an odd number modulo a power of two.
    let mut data: Vec<u64> = (0..1 << 18).map(|i| i * 40_503 % (1 << 18)).collect();
    merge_sort(&mut data);
    assert!(data.into_iter().eq(0..1 << 18));
    println!("sorted on {} workers", upbeat::current_num_workers());
}
