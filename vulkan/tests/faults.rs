//! Every call of Vulkan fails once, at each of its first places: a typed error, no leak, no hang, and the device goes on unless it was lost.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use ash::vk;
use support::{numbers, options};
use upbeat_vulkan::{Call, Device, Fault, HostMemory, Options, Reason, VulkanError};

/// Lets the `n`-th of `call`, counted from 1, give back `result`. The count tells whether it came to that.
fn failing(call: Call, n: usize, result: vk::Result) -> (Arc<Fault>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let fault = move |made: Call| {
        let due = made == call && counted.fetch_add(1, Ordering::Relaxed) + 1 == n;
        due.then_some(result)
    };
    (Arc::new(fault), count)
}

/// Everything that makes calls: staged transfers, a zeroed buffer, work, ticks.
fn work(device: &Device) -> Result<(), VulkanError> {
    let a = numbers(50_000, 1);
    let x = device.upload(&a)?;
    let y = device.buffer::<f32>(a.len())?;
    let mut commands = device.commands();
    commands.scale(&x, 2.0, &y)?;
    commands.add(&y, &x, &y)?;
    commands.submit()?.wait()?;
    if device.limits().import_alignment.is_some() {
        let imported = device.import(HostMemory::from(&a[..]))?;
        let mut commands = device.commands();
        commands.scale(&imported, 1.0, &imported)?;
        commands.submit()?.wait()?;
        assert!(imported.to_vec()? == a, "what is not told is right");
    }
    let found = y.to_vec()?;
    assert!(found.iter().zip(&a).all(|(found, a)| *found == 2.0 * a + a), "what is not told is right");
    // The next submission asks for the ticks of the one before.
    device.commands().submit()?.wait()
}

/// Whether the validation layer is there: its messages must be none.
fn validated() -> Option<bool> {
    support::device().map(|_| Device::open(&options().validate(true)).is_ok())
}

fn scene(options: &Options) -> Options {
    options.clone().always_stage(true).staging(64 << 10).timestamps(true)
}

#[test]
fn every_call_fails_with_a_typed_error_and_the_device_goes_on() {
    every_call_fails(|options| options);
}

#[test]
fn so_does_every_call_where_copies_have_a_queue_of_their_own() {
    every_call_fails(Options::pretend_copy_queue);
}

fn every_call_fails(with: impl Fn(Options) -> Options) {
    let _turn = support::turn();
    let Some(validated) = validated() else { return };
    let scene = with(scene(&options().validate(validated)));
    let mut reached = Vec::new();
    for call in Call::ALL {
        for n in [1, 2, 3, 7] {
            for result in [
                vk::Result::ERROR_OUT_OF_HOST_MEMORY,
                vk::Result::ERROR_UNKNOWN,
                vk::Result::ERROR_DEVICE_LOST,
            ] {
                let (fault, count) = failing(call, n, result);
                let device = match Device::open(&scene.clone().fault(fault)) {
                    Ok(device) => device,
                    Err(error) => {
                        let Reason::Call { call: told, result: word } = &error.reason else {
                            panic!("{call}: {error}")
                        };
                        assert_eq!(
                            (*told, word),
                            (call, &format!("{result:?}")),
                            "opening tells what failed"
                        );
                        reached.push(call);
                        continue;
                    }
                };
                let outcome = work(&device);
                let came = count.load(Ordering::Relaxed) >= n;
                if came {
                    reached.push(call);
                }
                // Where memory is short, room is made, and there may be enough then.
                let helped = is_memory(call, result) && outcome.is_ok();
                if came && !helped {
                    let error = outcome.err().unwrap_or_else(|| {
                        panic!("{call} no. {n} failed with {result:?} and nobody was told")
                    });
                    check_told(call, result, &error);
                }
                // A device that lost its count or its semaphore knows nothing any more; else it goes on.
                let lost = result == vk::Result::ERROR_DEVICE_LOST
                    || matches!(call, Call::WaitSemaphores | Call::SemaphoreCounter);
                match work(&device) {
                    Ok(()) => {}
                    // It may come only now.
                    Err(error) if lost || !came => check_told(call, result, &error),
                    Err(error) => panic!("after {call} no. {n} failed with {result:?}: {error}"),
                }
                assert_eq!(device.messages(), Vec::<String>::new(), "{call} no. {n}: {result:?}");
            }
        }
    }
    let needs_layers = [Call::EnumerateLayers, Call::CreateMessenger];
    let imports = Device::open(&options()).unwrap().limits().import_alignment.is_some();
    let cooperates = Device::open(&options()).unwrap().limits().cooperative.is_some();
    for call in Call::ALL {
        let is_made = match call {
            Call::CooperativeMatrices => cooperates,
            Call::HostPointerProperties => imports,
            call => validated || !needs_layers.contains(&call),
        };
        assert!(reached.contains(&call) || !is_made, "{call} was never made");
    }
}

/// Whether it says that there is no memory left.
fn is_memory(call: Call, result: vk::Result) -> bool {
    matches!(call, Call::CreateBuffer | Call::AllocateMemory)
        && result == vk::Result::ERROR_OUT_OF_HOST_MEMORY
}

fn check_told(call: Call, result: vk::Result, error: &VulkanError) {
    let memory = is_memory(call, result);
    match error {
        VulkanError::DeviceLost => assert_eq!(result, vk::Result::ERROR_DEVICE_LOST, "{call}"),
        VulkanError::OutOfMemory { .. } => assert!(memory, "{call}"),
        VulkanError::Call { call: told, result: word } => {
            assert_eq!((*told, word.as_str()), (call, format!("{result:?}").as_str()));
        }
        other => panic!("{call}: {other}"),
    }
}

#[test]
fn work_that_hangs_is_given_up() {
    let _turn = support::turn();
    let Some(validated) = validated() else { return };
    // The semaphore never says that anything is done, as where the device hangs.
    let stuck: Arc<Fault> = Arc::new(|call| match call {
        Call::WaitSemaphores => Some(vk::Result::TIMEOUT),
        Call::SemaphoreCounter => Some(vk::Result::NOT_READY),
        _ => None,
    });
    let limit = std::time::Duration::from_millis(100);
    let waits: Arc<Fault> = Arc::new(|call| (call == Call::WaitSemaphores).then_some(vk::Result::TIMEOUT));
    let asked = VulkanError::Call { call: Call::SemaphoreCounter, result: "NOT_READY".to_owned() };
    for (fault, told) in [(stuck, asked), (waits, VulkanError::Timeout { after: limit })] {
        let device = Device::open(&options().validate(validated).timeout(limit).fault(fault)).unwrap();
        let x = device.upload(&[1.0_f32; 10]).unwrap();
        let mut commands = device.commands();
        commands.scale(&x, 2.0, &x).unwrap();
        let done = commands.submit().unwrap();
        // Whoever asks is told that nothing can be known, whoever waits that it takes too long.
        if told != (VulkanError::Timeout { after: limit }) {
            assert!(done.is_finished(), "nobody has to wait to be told");
        }
        assert_eq!(done.wait(), Err(told));
        assert!(device.commands().submit().is_err(), "nothing more is taken");
    }
}

#[test]
fn without_a_loader_the_cpu_is_offered() {
    let _turn = support::turn();
    let error =
        Device::open(&Options::new().loader("/nonexistent/libvulkan.so.1")).expect_err("there is none");
    assert!(matches!(error.reason, Reason::NoLoader { .. }));
    let told = error.to_string();
    assert!(
        told.starts_with("no Vulkan loader was found (") && told.ends_with("or stay on the CPU"),
        "{told}"
    );
}

/// Run by the next test, with a loader that finds no driver.
#[test]
fn child_without_drivers() {
    if std::env::var_os("UPBEAT_TEST_WITHOUT_DRIVERS").is_none() {
        return;
    }
    let error = Device::open(&options()).expect_err("there is no driver");
    println!("told: {error}");
    assert!(matches!(error.reason, Reason::NoDevice | Reason::NoLoader { .. }), "{error:?}");
    assert_eq!(upbeat_vulkan::devices().map(|devices| devices.len()).unwrap_or(0), 0);
}

#[test]
fn without_a_driver_the_cpu_is_offered() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["child_without_drivers", "--exact", "--nocapture"]);
    // The old name and the new one of the loader's variable.
    child.env("VK_ICD_FILENAMES", "/nonexistent").env("VK_DRIVER_FILES", "/nonexistent");
    let output = child.env("UPBEAT_TEST_WITHOUT_DRIVERS", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("told: "), "{text}");
}

#[test]
fn a_damaged_pipeline_cache_is_made_anew() {
    use upbeat_vulkan::PipelineCache;
    let _turn = support::turn();
    if validated().is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("upbeat-vulkan-{}", std::process::id()));
    let path = folder.join("pipelines");
    let open = || {
        let device = Device::open(&options().pipeline_cache(&path)).unwrap();
        work(&device).unwrap();
        device.pipeline_cache().clone()
    };
    assert_eq!(open(), PipelineCache::New);
    let bytes = std::fs::read(&path).unwrap();
    let PipelineCache::Loaded { bytes: loaded } = open() else { panic!("it is read") };
    assert!(loaded < bytes.len(), "a header of ours comes first");
    let mut damaged = bytes;
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(open(), PipelineCache::Replaced { reason: "it is damaged" });
    assert!(matches!(open(), PipelineCache::Loaded { .. }), "and written anew");
    // What is no file cannot be read, nor replaced; the device works all the same.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(open(), PipelineCache::Replaced { reason: "it cannot be read" });
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no part of a file is left");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Run by the next test, with a folder for caches of its own.
#[test]
fn child_with_a_folder_for_caches() {
    if std::env::var_os("UPBEAT_TEST_WITH_CACHES").is_none() {
        return;
    }
    let any = |options: Options| options.device(upbeat_vulkan::Choice::Any).validate(false);
    let opened = |options: Options| {
        let device = Device::open(&any(options)).unwrap();
        work(&device).unwrap();
        device.pipeline_cache().clone()
    };
    let told = [
        opened(Options::from_env()),
        opened(Options::from_env()),
        opened(Options::from_env().no_pipeline_cache()),
        opened(Options::new()),
    ];
    println!("told: {told:?}");
}

#[test]
fn the_environment_puts_pipelines_into_the_users_folder_for_caches() {
    if validated().is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("upbeat-vulkan-caches-{}", std::process::id()));
    let run = |word: &str| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["child_with_a_folder_for_caches", "--exact", "--nocapture"]);
        child
            .env("UPBEAT_TEST_WITH_CACHES", "1")
            .env("XDG_CACHE_HOME", &folder)
            .env("UPBEAT_VULKAN_CACHE", word);
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    let text = run("off");
    assert!(text.contains("told: [None, None, None, None]"), "{text}");
    // Drivers have folders of their own beside it.
    assert!(!folder.join("upbeat").exists());
    let text = run("");
    assert!(text.contains("told: [New, Loaded {") && text.contains("}, None, None]"), "{text}");
    let named: Vec<_> =
        std::fs::read_dir(folder.join("upbeat")).unwrap().map(|f| f.unwrap().file_name()).collect();
    let [name] = &named[..] else { panic!("{named:?}") };
    assert!(name.to_string_lossy().starts_with("pipelines-"), "{name:?}");
    let text = run(folder.join("mine").to_str().unwrap());
    assert!(text.contains("told: [New, Loaded {") && folder.join("mine").is_file(), "{text}");
    std::fs::remove_dir_all(folder).unwrap();
}
