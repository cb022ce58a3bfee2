//! Batches follow the pressure on memory, as files like the system's tell it.

use std::time::Duration;

use upbeat::batch::pressure::{Gauge, Level};
use upbeat::batch::{BatchOptions, Batcher};
use upbeat::Runtime;

/// An executor that adds one to each item.
fn increment(items: &mut Vec<u64>, results: &mut Vec<u64>) {
    results.extend(items.drain(..).map(|item| item + 1));
}

/// The cap follows what a file like the system's says, whatever batches run meanwhile.
#[test]
fn the_cap_follows_the_pressure_on_memory() {
    let root = std::env::temp_dir().join(format!("upbeat-batch-pressure-{}", std::process::id()));
    std::fs::create_dir_all(root.join("pressure")).unwrap();
    let stall = |percent: u32| {
        let text = format!("some avg10={percent}.00 total=1\nfull avg10=0.00 total=1\n");
        // In one step: a file that is half written would be no pressure.
        std::fs::write(root.join("new"), text).unwrap();
        std::fs::rename(root.join("new"), root.join("pressure/memory")).unwrap();
    };
    stall(6);
    let runtime = Runtime::builder().workers(2).build().unwrap();
    for latency in [None, Some(Duration::from_secs(3600))] {
        stall(6);
        let mut options = BatchOptions::new(64).memory(Gauge::at(&root, root.join("none")));
        options = latency.map_or(options.clone(), |latency| options.latency(latency));
        let batcher = Batcher::on(&runtime, &options, increment).unwrap();
        // A latency begins with a quarter of the cap.
        let most = if latency.is_some() { 16 } else { 64 };
        let metrics = batcher.metrics();
        assert_eq!((metrics.cap, metrics.pressure), (most * 3 / 4, Level::Tight));
        for (percent, level, share) in
            [(90, Level::Critical, 25), (16, Level::Scarce, 50), (0, Level::Calm, 100)]
        {
            stall(percent);
            while batcher.metrics().pressure != level {
                assert_eq!(batcher.submit(1).unwrap().wait(), Ok(2));
            }
            assert_eq!(batcher.submit(1).unwrap().wait(), Ok(2));
            assert_eq!(batcher.metrics().cap, most * share / 100);
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}
