//! Which device is opened, and by which queue it computes.

use ash::vk;

use crate::calls::Calls;
use crate::choice::Candidate;
use crate::error::{Reason, VulkanUnavailable};
use crate::instance::{DeviceInfo, Instance};
use crate::limits::{features, missing};
use crate::options::Options;

/// A device that has all that kernels need.
pub(crate) struct Chosen {
    /// In the loader's order.
    pub(crate) place: usize,
    pub(crate) physical: vk::PhysicalDevice,
    pub(crate) info: DeviceInfo,
    pub(crate) families: Vec<vk::QueueFamilyProperties>,
    /// The family of the queue that is used.
    pub(crate) family: usize,
}

/// The device that `options` choose.
///
/// # Errors
/// None fits, or the one that does lacks something.
pub(crate) fn choose(
    instance: &Instance,
    options: &Options,
    calls: &Calls,
) -> Result<Chosen, VulkanUnavailable> {
    let devices = instance.devices(calls)?.into_iter().enumerate();
    let mut looked_at: Vec<_> =
        devices.map(|(place, (physical, info))| look_at(instance, place, physical, info)).collect();
    let candidates: Vec<_> = looked_at
        .iter()
        .map(|(info, found)| Candidate { kind: info.kind, name: info.name.clone(), usable: found.is_ok() })
        .collect();
    let place = options.choice.pick(&candidates)?;
    looked_at.swap_remove(place).1.map_err(|reason| VulkanUnavailable { reason })
}

/// What a device is, and what it lacks or how it is used.
fn look_at(
    instance: &Instance,
    place: usize,
    physical: vk::PhysicalDevice,
    info: DeviceInfo,
) -> (DeviceInfo, Result<Chosen, Reason>) {
    let device = info.name.clone();
    if info.version < (1, 3, 0) {
        let found = format!("{}.{}.{}", info.version.0, info.version.1, info.version.2);
        return (info, Err(Reason::Version { what: device, found }));
    }
    // SAFETY: the device is the instance's.
    let families = unsafe { instance.raw().get_physical_device_queue_family_properties(physical) };
    // One that does nothing but compute stays out of the way of who draws.
    let computes = |family: &&vk::QueueFamilyProperties| family.queue_flags.contains(vk::QueueFlags::COMPUTE);
    let draws = |family: &vk::QueueFamilyProperties| family.queue_flags.contains(vk::QueueFlags::GRAPHICS);
    let family = families
        .iter()
        .enumerate()
        .filter(|(_, family)| computes(family))
        .min_by_key(|(_, family)| draws(family))
        .map(|(place, _)| place);
    let (mut v11, mut v12, mut v13) = Default::default();
    features(instance.raw(), physical, &mut v11, &mut v12, &mut v13);
    let chosen = match (family, missing(&v12, &v13)) {
        (None, _) => Err(Reason::NoComputeQueue { device }),
        (_, Some(feature)) => Err(Reason::Feature { device, feature }),
        (Some(family), None) => Ok(Chosen { place, physical, info: info.clone(), families, family }),
    };
    (info, chosen)
}
