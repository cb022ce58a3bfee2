//! What the driver says that may be taken of a heap (`VK_EXT_memory_budget`), and whether new memory keeps to it.

use ash::{ext, vk};

use super::describe;

/// What a driver says of the heap that buffers lie in (`VK_EXT_memory_budget`). Both change with what other programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes that this process should not exceed: beyond, the driver moves memory elsewhere or refuses it, and everything may become slow.
    pub bytes: u64,
    /// Bytes that count as used by it: its buffers' memory, and what else the driver keeps for it or, as drivers that compute on the CPU do,
    /// sees in use.
    pub used: u64,
}

impl MemoryBudget {
    /// Bytes that may still be taken.
    pub fn left(&self) -> u64 {
        self.bytes.saturating_sub(self.used)
    }
}

/// The first type of memory of those in `bits` that is the device's own, which is where buffers lie: its place among the types.
fn kind_of_buffers(properties: &vk::PhysicalDeviceMemoryProperties, bits: u32) -> Option<usize> {
    let own = |kind: &vk::MemoryType| kind.property_flags.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL);
    let mut kinds = properties.memory_types_as_slice().iter().enumerate();
    kinds.find(|(place, kind)| bits & (1 << place) != 0 && own(kind)).map(|(place, _)| place)
}

/// Whether a device says what its budgets are.
pub(crate) fn tells_budget(extensions: &[vk::ExtensionProperties]) -> bool {
    extensions.iter().any(|of| of.extension_name_as_c_str() == Ok(ext::memory_budget::NAME))
}

/// A heap's budget, as the driver or a test tells it.
pub(super) struct Budget {
    instance: ash::Instance,
    device: vk::PhysicalDevice,
    heap: usize,
    /// Of the type of memory that buffers lie in.
    pub(super) properties: vk::MemoryPropertyFlags,
    /// Bytes that a test says instead; used is then what is reserved.
    of_test: Option<u64>,
}

impl Budget {
    /// Of the heap that buffers of `device` lie in.
    pub(super) fn of(
        device: &ash::Device,
        (instance, physical): (&ash::Instance, vk::PhysicalDevice),
        of_test: Option<u64>,
    ) -> Option<Self> {
        // Buffers that are made alike may lie in the same types.
        let example = describe(16);
        let example = vk::DeviceBufferMemoryRequirements::default().create_info(&example);
        let mut needs = vk::MemoryRequirements2::default();
        // SAFETY: the device is alive and has maintenance4; the structures are valid.
        unsafe { device.get_device_buffer_memory_requirements(&example, &mut needs) };
        // SAFETY: the device is the instance's.
        let properties = unsafe { instance.get_physical_device_memory_properties(physical) };
        let kind = kind_of_buffers(&properties, needs.memory_requirements.memory_type_bits)?;
        let vk::MemoryType { heap_index, property_flags: properties } = properties.memory_types[kind];
        let instance = instance.clone();
        Some(Self { instance, device: physical, heap: heap_index as usize, properties, of_test })
    }

    /// Of now, where `reserved` bytes are taken by us.
    pub(super) fn ask(&self, reserved: u64) -> MemoryBudget {
        match self.of_test {
            Some(bytes) => MemoryBudget { bytes, used: reserved },
            None => {
                let mut told = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
                let mut all = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut told);
                // SAFETY: the device is the instance's, of Vulkan 1.3, and has the extension whose structure is in the chain.
                unsafe { self.instance.get_physical_device_memory_properties2(self.device, &mut all) };
                MemoryBudget { bytes: told.heap_budget[self.heap], used: told.heap_usage[self.heap] }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_in_the_first_type_that_is_the_devices_own_and_may_be() {
        let mut properties =
            vk::PhysicalDeviceMemoryProperties { memory_type_count: 3, ..Default::default() };
        let flags = [
            vk::MemoryPropertyFlags::HOST_VISIBLE,
            vk::MemoryPropertyFlags::DEVICE_LOCAL | vk::MemoryPropertyFlags::HOST_VISIBLE,
            vk::MemoryPropertyFlags::DEVICE_LOCAL,
        ];
        for (at, property_flags) in flags.into_iter().enumerate() {
            properties.memory_types[at] = vk::MemoryType { property_flags, heap_index: 2 - at as u32 };
        }
        assert_eq!(kind_of_buffers(&properties, 0b111), Some(1));
        assert_eq!(kind_of_buffers(&properties, 0b101), Some(2));
        assert_eq!(kind_of_buffers(&properties, 0b001), None);
        assert_eq!(MemoryBudget { bytes: 5, used: 7 }.left(), 0);
    }
}
