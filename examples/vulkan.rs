//! A pattern grows on a GPU while tasks of the runtime submit other work to it, and on the CPU where there is none.
//!
//! `cargo run --release --example vulkan`; `UPBEAT_VULKAN_DEVICE=cpu` takes a driver for CPUs, such as Mesa's.

use upbeat_kernels::flow::{gray_scott, mass, pearson_start, GrayScott};
use upbeat_vulkan::{Batched, Device, Options, VulkanError};

const SHAPE: [usize; 2] = [128, 128];
const STEPS: usize = 500;

/// Concentrations of `v` after [`STEPS`] steps on a device: all of them in one submission, awaited without blocking a worker.
async fn on_device(device: &Device, u: &[f32], v: &[f32]) -> Result<Vec<f32>, VulkanError> {
    let fields = [[device.upload(u)?, device.upload(v)?], [device.buffer(u.len())?, device.buffer(v.len())?]];
    let mut commands = device.commands();
    for step in 0..STEPS {
        let ([u, v], [next_u, next_v]) = (&fields[step % 2], &fields[(step + 1) % 2]);
        commands.gray_scott(&GrayScott::MITOSIS, SHAPE, [u, v], [next_u, next_v])?;
    }
    commands.submit()?.await?;
    fields[STEPS % 2][1].to_vec_async().await
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cells = SHAPE[0] * SHAPE[1];
    let (mut u, mut v) = (vec![0.0; cells], vec![0.0; cells]);
    pearson_start(SHAPE, 1, &mut u, &mut v)?;
    let device = match Device::open(&Options::from_env()) {
        Ok(device) => device,
        Err(error) => {
            println!("on the CPU, as {error}");
            gray_scott(&GrayScott::MITOSIS, SHAPE, STEPS, &mut u, &mut v)?;
            println!("after {STEPS} steps there is {:.1} of v", mass(&v));
            return Ok(());
        }
    };
    println!("on {}", device.info().name);
    let runtime = upbeat::Runtime::new()?;

    // Many small pieces of work of many tasks become few submissions.
    let batched = Batched::on(&runtime, &device, 64)?;
    let tasks: Vec<_> = (0..32)
        .map(|i| {
            let (device, batched) = (device.clone(), batched.clone());
            runtime.spawn_future(async move {
                let x = device.upload(&[i as f32; 256])?;
                let mut commands = device.commands();
                commands.scale(&x, 2.0, &x)?;
                batched.submit(commands)?.await?;
                Ok::<_, VulkanError>(x.to_vec_async().await?[0])
            })
        })
        .collect();

    let grown = runtime.block_on(on_device(&device, &u, &v))?;
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().expect("no task panicked")?, 2.0 * i as f32);
    }
    gray_scott(&GrayScott::MITOSIS, SHAPE, STEPS, &mut u, &mut v)?;
    println!("after {STEPS} steps there is {:.1} of v, on the CPU {:.1}", mass(&grown), mass(&v));
    let metrics = device.metrics();
    println!(
        "{} dispatches in {} submissions, {} barriers",
        metrics.dispatches, metrics.submissions, metrics.barriers
    );
    Ok(())
}
