//! Kernels that go number by number, with workgroups of every size a table may choose, bit for bit beside what they take by themselves; and
//! the file that a device finds by itself. Products, attention and rows have such tests beside their twins.

mod support;

use support::{device, numbers, open, options, shapes, Gpu};
use upbeat_kernels::elementwise::{Builder, Op};
use upbeat_kernels::{Activation, RopeShape};
use upbeat_vulkan::tuning::{search, Decision, Effort, Outcome, Source, Step, Tunable, Tuning};
use upbeat_vulkan::{f16, Choice, Device, DeviceProgram, Options, Rope};

const LENGTHS: [usize; 6] = [0, 1, 66, 129, 1000, 70_002];

fn program(device: &Device) -> DeviceProgram {
    let mut builder = Builder::default();
    let (a, b) = (builder.input(), builder.input());
    let sum = builder.step(Op::Add, &[a, b]).unwrap();
    builder.output(sum).unwrap();
    device.program(&builder.build().unwrap()).unwrap()
}

/// The bits that each kernel makes of `len` numbers.
fn bits(device: &Gpu, program: &DeviceProgram, len: usize) -> Vec<(&'static str, Vec<u32>)> {
    let (a, b) = (numbers(len, 1), numbers(len, 2));
    let [a, b] = [a, b].map(|x| device.upload(&x).unwrap());
    let mut results = Vec::new();
    let mut run = |name, record: &dyn Fn(&mut upbeat_vulkan::Commands, &upbeat_vulkan::Buffer<f32>)| {
        let out = device.upload(&vec![-7.0_f32; len + 2]).unwrap();
        let mut commands = device.commands();
        record(&mut commands, &out.slice(1..len + 1));
        commands.submit().unwrap().wait().unwrap();
        let found: Vec<u32> = out.to_vec().unwrap().iter().map(|x| x.to_bits()).collect();
        let around = (-7.0_f32).to_bits();
        assert_eq!((found[0], found[len + 1]), (around, around), "{name} writes nothing around");
        results.push((name, found));
    };
    run("add", &|commands, out| commands.add(&a, &b, out).map(drop).unwrap());
    run("activation", &|commands, out| commands.activation(&a, Activation::Gelu, out).map(drop).unwrap());
    let pairs = device.upload(&numbers(2 * len, 4)).unwrap();
    run("swiglu", &|commands, out| commands.swiglu(&pairs, 1, out).map(drop).unwrap());
    run("program", &|commands, out| commands.program(program, &[&a, &b], &[out]).map(drop).unwrap());
    if device.limits().f16_storage {
        let half = device.buffer::<f16>(len).unwrap();
        run("to_f16 and to_f32", &|commands, out| {
            commands.to_f16(&a, &half).unwrap();
            commands.to_f32(&half, out).unwrap();
        });
    }
    if len > 0 && len.is_multiple_of(6) {
        let table = device.upload(&numbers(30, 3)).unwrap();
        let tokens: Vec<u32> = (0..len as u32 / 6).map(|i| i % 5).collect();
        let tokens = device.upload(&tokens).unwrap();
        let shape = RopeShape { first: 3, seq: len / 6, heads: 1, rotate: 1, dim: 6, base: 10_000.0 };
        let rope = Rope::new(device, shape).unwrap();
        run("rope", &|commands, out| commands.rope(&a, &rope, out).map(drop).unwrap());
        run("embedding", &|commands, out| commands.embedding(&table, 6, &tokens, out).map(drop).unwrap());
    }
    results
}

#[test]
fn workgroups_of_every_size_give_the_same_bits() {
    let Some(device) = device() else { return };
    let by_itself = program(&device);
    for len in LENGTHS {
        let expected = bits(&device, &by_itself, len);
        for (what, tuned) in shapes(&device, Tunable::Elements) {
            // A program is compiled with the shapes of one handle and may run with those of another.
            for program in [&by_itself, &program(&tuned)] {
                for ((name, found), (_, expected)) in bits(&tuned, program, len).iter().zip(&expected) {
                    assert!(found == expected, "{name} of {len}, {what}");
                }
            }
        }
    }
}

/// What a search takes is up to the clock; that it tries every shape that the device can run, finds each right, and gives a table that can
/// be saved, is not.
#[test]
fn a_search_tries_every_shape_and_finds_it_right() {
    let Some(device) = device() else { return };
    let (mut shares, mut decided) = (Vec::new(), Vec::new());
    // Of each kind of kernel; products have their own tests, with the same tiles.
    let tunables =
        [Tunable::GemmLow, Tunable::FewRows, Tunable::AttentionRow, Tunable::Rows, Tunable::Elements];
    let effort = Effort { rounds: 1, small: true };
    let found = search(&device, &tunables, effort, |step| match step {
        Step::Measuring(share, _) => shares.push(share),
        Step::Decided(decision) => decided.push(decision.clone()),
    })
    .unwrap();
    assert!(shares.is_sorted() && shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
    assert_eq!(found.decisions, decided);
    assert_eq!(decided.iter().map(|decision| decision.tunable).collect::<Vec<_>>(), tunables);
    for Decision { tunable, shape, speed, trials } in &decided {
        let tried: Vec<_> = trials.iter().map(|trial| &*trial.shape).collect();
        let can_run = tunable
            .shapes()
            .into_iter()
            .skip(1)
            .filter(|shape| device.with_tuning(Tuning::default().with(*tunable, shape).unwrap()).is_ok());
        assert_eq!(tried, can_run.collect::<Vec<_>>(), "{tunable:?}");
        for trial in trials {
            assert!(matches!(trial.outcome, Outcome::Right(speed) if speed > 0.0), "{tunable:?}: {trial:?}");
        }
        assert_eq!(found.tuning.shape(*tunable), *shape);
        let own = *shape == tunable.shapes()[0];
        assert!(if own { *speed == 1.0 } else { *speed > 1.03 }, "{tunable:?}: {shape} at {speed}");
    }
    // What was not searched stays.
    assert_eq!(found.tuning.shape(Tunable::GemmWide), Tunable::GemmWide.shapes()[0]);
    assert!(device.with_tuning(found.tuning).is_ok());
}

#[test]
fn a_search_leaves_alone_what_it_is_not_asked_for() {
    let Some(device) = device() else { return };
    let before = Tuning::default().with(Tunable::FewRows, "2").unwrap();
    let tuned = device.with_tuning(before).unwrap();
    let found = search(&tuned, &[], Effort { rounds: 1, small: true }, |_| {}).unwrap();
    assert_eq!((found.tuning, found.decisions.len()), (before, 0));
    let without = open(options().cooperative_matrices(false)).unwrap();
    let effort = Effort { rounds: 1, small: true };
    let found = search(&without, &[Tunable::CooperativeLow], effort, |_| {}).unwrap();
    assert!(found.decisions[0].trials.is_empty(), "a device without has nothing to choose: {found:?}");
    assert_eq!(found.tuning, Tuning::default());
}

/// Run by the next test, with a folder for caches of its own.
#[test]
fn child_with_a_folder_for_caches() {
    let Some(folder) = std::env::var_os("UPBEAT_TEST_TUNED") else { return };
    let open = || {
        let options = Options::from_env().device(Choice::Any).no_pipeline_cache().validate(false);
        Device::open(&options)
            .map(|device| (device.tuning(), format!("{:?}", device.tuning_source()), device))
    };
    let (tuning, source, device) = open().unwrap();
    assert_eq!((tuning, source.as_str()), (Tuning::default(), "Default"), "nothing is there yet");
    let path = Tuning::usual_path(&device).unwrap();
    assert!(path.starts_with(std::path::Path::new(&folder).join("upbeat")), "{path:?}");
    let chosen = Tuning::default().with(Tunable::FewRows, "2").unwrap();
    chosen.save(&path, &device).unwrap();
    let (tuning, _, device) = open().unwrap();
    assert_eq!(tuning, chosen);
    assert!(matches!(device.tuning_source(), Source::Saved(from) if *from == path));
    let ignoring = Device::open(&Options::from_env().device(Choice::Any).no_tuning()).unwrap();
    assert_eq!(ignoring.tuning(), Tuning::default(), "code goes before the environment");
    // What is only found, and not asked for, is left alone where it is wrong, and that is said.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("few_rows = 2", "few_rows = 99")).unwrap();
    let (tuning, _, device) = open().unwrap();
    assert_eq!(tuning, Tuning::default());
    let Source::Ignored(from, error) = device.tuning_source() else { panic!("{:?}", device.tuning_source()) };
    assert_eq!(*from, path);
    assert!(error.to_string().contains("few_rows = 99 is no shape"), "{error}");
    println!("told: all");
}

#[test]
fn a_device_finds_what_was_saved_for_it() {
    if device().is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("upbeat-vulkan-tuned-{}", std::process::id()));
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["child_with_a_folder_for_caches", "--exact", "--nocapture"]);
    child.env("UPBEAT_TEST_TUNED", &folder).env("XDG_CACHE_HOME", &folder).env_remove("UPBEAT_VULKAN_TUNING");
    let output = child.output().unwrap();
    let _ = std::fs::remove_dir_all(&folder);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("told: all"), "{text}");
}
