//! What is refused, and what the refusal says.

use upbeat_tensor::{Activation, Device, Indices, Mask, ParseDeviceError, Tensor, TensorError};

use crate::support::{devices, shared, tensor, told};

#[test]
fn shapes_are_refused_with_the_shapes() {
    for device in devices() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, &device).unwrap();
        let (x, y, row) = (zeros(&[2, 3]), zeros(&[4, 5]), zeros(&[4]));
        assert_eq!(
            told(x.matmul(&y)),
            "matmul takes [.., m, k] and [.., k, n], but was given [2, 3] and [4, 5]; k and what stands for .. must be the same \
             in both (a single [k, n] serves all); matmul_transposed takes a factor that is stored the other way round"
        );
        assert_eq!(
            told(x.add(&row)),
            "add takes two tensors of one shape, or [.., cols] and then a row [cols], a column [.., 1] or a number [], but was \
             given [2, 3] and [4]; reshape the second to one of these"
        );
        assert_eq!(
            told(x.softmax().and_then(|x| x.item().map(drop))),
            "item takes one number, but was given [2, 3]; reduce it first, or cut one out by rows"
        );
        assert_eq!(
            told(zeros(&[]).softmax()),
            "softmax takes [.., width], but was given []; reshape a single number to [1]"
        );
        assert_eq!(
            told(x.reshape(&[7])),
            "reshape: [7] is a shape of 7 numbers, but there are 6; give it a shape whose product is 6"
        );
        assert_eq!(
            told(Tensor::from_slice(&[1.0], &[2], &device)),
            "from_slice: [2] is a shape of 2 numbers, but there are 1; give it a shape whose product is 1"
        );
        assert_eq!(
            told(x.rows(1..3)),
            "rows: 1..3 is no range of rows of [2, 3]; give it one that ends at 2 at most and begins no later"
        );
        let backwards = std::ops::Range { start: 2, end: 1 };
        assert!(matches!(x.rows(backwards), Err(TensorError::Range { operation: "rows", .. })));
        let said = told(x.attention(&x, &x, Mask::None));
        assert!(said.ends_with("but was given [2, 3] and [2, 3] and [2, 3]; keys and values must have one shape, and the queries' batch and dim"), "{said}");
        for refused in [
            x.matmul(&row),
            row.matmul(&x),
            x.matmul_transposed(true, &x, true),
            zeros(&[2, 2, 3]).matmul(&zeros(&[3, 3, 2])),
            x.linear(&y, None, Activation::Identity, None),
            x.linear(&zeros(&[4, 3]), Some(&zeros(&[3])), Activation::Identity, None),
            x.linear(&zeros(&[4, 3]), None, Activation::Identity, Some(&x)),
            x.sub(&y),
            x.div(&zeros(&[2])),
            row.add(&zeros(&[2, 4])),
            zeros(&[]).mul(&row),
            x.swiglu(),
            zeros(&[]).softmax(),
            zeros(&[]).log_softmax(),
            zeros(&[]).sum_rows(),
            x.layer_norm(&row, None, 1e-5),
            x.layer_norm(&zeros(&[3]), Some(&row), 1e-5),
            x.rms_norm(&row, 1e-5),
            zeros(&[]).rows(0..0),
            row.embedding(&Indices::from_slice(&[0], &device).unwrap()),
        ] {
            assert!(matches!(refused, Err(TensorError::Shape { .. })), "{refused:?}");
        }
        assert!(matches!(x.item(), Err(TensorError::Shape { operation: "item", .. })));
        let huge = [usize::MAX, 2];
        assert!(matches!(Tensor::<f32>::zeros(&huge, &device), Err(TensorError::Size { .. })));
        assert!(matches!(x.reshape(&huge), Err(TensorError::Size { .. })));
        assert_eq!(
            told(x.reshape(&huge)),
            "reshape: a tensor is too large: its size in bytes overflows; work on parts of it"
        );
    }
}

#[test]
fn an_epsilon_is_a_number_of_at_least_0() {
    for device in devices() {
        let (x, weight) = (tensor(&[3.0, 4.0], &[1, 2], &device), tensor(&[1.0, 1.0], &[2], &device));
        let must = "epsilon must be a finite number of at least 0";
        for epsilon in [-1e-9, f64::INFINITY, 1e39] {
            let value = |operation| Some(TensorError::Value { operation, must, found: epsilon });
            assert_eq!(x.rms_norm(&weight, epsilon).err(), value("rms_norm"));
            assert_eq!(x.layer_norm(&weight, None, epsilon).err(), value("layer_norm"));
        }
        let said = "rms_norm: epsilon must be a finite number of at least 0, but is NaN";
        assert_eq!(told(x.rms_norm(&weight, f64::NAN)), said);
        assert!(matches!(x.layer_norm(&weight, None, f64::NAN), Err(TensorError::Value { .. })));
        assert!(x.rms_norm(&weight, 0.0).is_ok() && x.layer_norm(&weight, None, 0.0).is_ok());
    }
}

#[test]
fn a_limit_of_a_device_says_where_there_is_none() {
    let Some(opened) = shared() else { return };
    let device = opened.device();
    let x = Tensor::zeros(&[1, 2, 1, 257], &device).unwrap();
    assert_eq!(
        told(x.attention(&x, &x, Mask::None)),
        format!(
            "attention on {device}: numbers of a head may be 256 at most but are 257; work on parts of it, or on Device::Cpu"
        )
    );
    let there = x.to(&Device::Cpu).unwrap();
    assert!(there.attention(&there, &there, Mask::None).is_ok(), "and that helps");
}

/// What `unwrap` and a `main` that returns an error print.
#[test]
fn an_error_shows_its_sentence_to_who_unwraps() {
    let error = tensor(&[1.0], &[1], &Device::Cpu).sub(&tensor(&[1.0, 2.0], &[2], &Device::Cpu)).unwrap_err();
    assert_eq!(format!("{error:?}"), format!("TensorError({error})"));
    let boxed: Box<dyn std::error::Error> = "cuda".parse::<Device>().unwrap_err().into();
    assert_eq!(format!("{boxed:?}"), format!("ParseDeviceError({boxed})"));
}

#[test]
fn two_devices_are_named_with_the_way_out() {
    let Some(opened) = shared() else { return };
    let there = opened.device();
    let (x, y) = (tensor(&[1.0], &[1], &Device::Cpu), tensor(&[2.0], &[1], &there));
    let error = TensorError::TwoDevices { operation: "add", first: Device::Cpu, other: there };
    assert_eq!(x.add(&y).err(), Some(error));
    let Device::Vulkan(place) = there else { unreachable!() };
    assert_eq!(
        told(y.mul(&x)),
        format!(
            "mul: one operand is on vulkan:{place} and another on cpu; move that one by `.to(&Device::Vulkan({place}))`"
        )
    );
    assert_eq!(y.mul(&x.to(&there).unwrap()).unwrap().to_vec(), Ok(vec![2.0]), "and that helps");
    let indices = Indices::from_slice(&[0], &Device::Cpu).unwrap();
    assert!(matches!(y.reshape(&[1, 1]).unwrap().embedding(&indices), Err(TensorError::TwoDevices { .. })));
    assert!(matches!(Tensor::concat(&[&y, &x]), Err(TensorError::TwoDevices { .. })));
}

#[test]
fn devices_have_words() {
    for (word, device) in [("cpu", Device::Cpu), (" CPU ", Device::Cpu), ("vulkan:3", Device::Vulkan(3))] {
        assert_eq!(word.parse(), Ok(device));
        assert_eq!(device.to_string().parse(), Ok(device), "and back");
    }
    for word in ["", "cuda", "vulkan:", "cpu:0", "vulkan0"] {
        let error = word.parse::<Device>().unwrap_err();
        assert_eq!(error, ParseDeviceError::Unknown { word: word.to_owned() });
        assert!(error.to_string().ends_with("or vulkan:0 for the first of `upbeat info`"), "{error}");
    }
    let error = "vulkan:no such name".parse::<Device>().unwrap_err();
    assert!(error.to_string().ends_with("; the device cpu always works"), "{error}");
    if let Some(opened) = shared() {
        let name = &opened.vulkan().unwrap().info().name;
        assert!(format!("vulkan:{name}").parse::<Device>().is_ok());
        let available = Device::available();
        let device = opened.device();
        let named = |a: &&upbeat_tensor::Available| a.device == device;
        assert_eq!(available.iter().find(named).unwrap().vulkan.as_ref().map(|info| &info.name), Some(name));
    }
    assert_eq!(Device::available()[0].device, Device::Cpu);
}

#[test]
fn a_device_that_is_not_there_is_told() {
    let error = told(Tensor::from_slice(&[1.0], &[1], &Device::Vulkan(1000)));
    assert!(error.starts_with("vulkan:1000 cannot be opened: "), "{error}");
    assert!(error.ends_with("; Device::Cpu always works"), "{error}");
    assert!(matches!(Device::Vulkan(1000).open(), Err(TensorError::Unavailable { .. })));
    assert!(Device::Cpu.open().unwrap().vulkan().is_none());
}

#[test]
fn the_best_device_is_no_driver_for_cpus_unless_asked_for() {
    let best = Device::best();
    let asked = std::env::var("UPBEAT_VULKAN_DEVICE").is_ok_and(|word| !word.trim().is_empty());
    match best.device() {
        Device::Cpu => {
            let why = best.refused().expect("it says why").to_string();
            assert_eq!(best.to_string(), format!("cpu, as {why}"));
        }
        Device::Vulkan(_) => {
            let info = best.opened().vulkan().unwrap().info();
            assert!(asked || info.kind != upbeat_vulkan::Kind::Cpu, "{best}");
            assert_eq!(best.refused(), None);
        }
    }
    assert_eq!("best".parse(), Ok(best.device()));
}
