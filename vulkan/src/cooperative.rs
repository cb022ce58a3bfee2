//! Cooperative matrices (`VK_KHR_cooperative_matrix`): whether a device has them, and of which shape. What multiplies with them is
//! `kernels/cooperative.rs`.
//!
//! Nothing is assumed: the extension, its feature, all that its shaders need besides, and the shapes are asked for.

use std::fmt;

use ash::{khr, vk, Entry};

use crate::calls::{Call, Calls};

/// Matrices that a subgroup multiplies at once: `[m, k]` by `[k, n]`, both of `f16`, into sums of `f32`. Displayed as m x n x k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CooperativeMatrices {
    /// Rows of the left factor and of the sums.
    pub m: u32,
    /// Columns of the right factor and of the sums.
    pub n: u32,
    /// Columns of the left factor, rows of the right one.
    pub k: u32,
}

impl fmt::Display for CooperativeMatrices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.m, self.n, self.k)
    }
}

/// A side of what one subgroup computes is a multiple of this, and so are the steps along k; a shape must fit in.
pub(crate) const SUBGROUP_SIDE: u32 = 32;

impl CooperativeMatrices {
    /// Whether tiles can be cut into these: shared memory is read by eights.
    fn fits(&self) -> bool {
        [self.m, self.n, self.k]
            .iter()
            .all(|&side| side > 0 && side.is_multiple_of(8) && SUBGROUP_SIDE.is_multiple_of(side))
    }
}

/// The device's matrices of `f16` with sums of `f32`, the largest that fit. `None` where it lacks something.
pub(crate) fn find(
    entry: &Entry,
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    calls: &Calls,
    known: &[vk::ExtensionProperties],
    v12: &vk::PhysicalDeviceVulkan12Features<'_>,
    v13: &vk::PhysicalDeviceVulkan13Features<'_>,
) -> Result<Option<CooperativeMatrices>, vk::Result> {
    let is_known = known.iter().any(|e| e.extension_name_as_c_str() == Ok(khr::cooperative_matrix::NAME));
    // Shaders have numbers of 16 bits in shared memory, say what is visible to whom, and need whole subgroups of a known size. Where the
    // memory model is enabled, barriers of other shaders need its device scope.
    let needed = [
        v12.shader_float16,
        v12.vulkan_memory_model,
        v12.vulkan_memory_model_device_scope,
        v13.subgroup_size_control,
        v13.compute_full_subgroups,
    ];
    if !is_known || needed.contains(&vk::FALSE) {
        return Ok(None);
    }
    let mut feature = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
    let mut all = vk::PhysicalDeviceFeatures2::default().push_next(&mut feature);
    // SAFETY: the device is the instance's and knows the extension; the chain lives through the call.
    unsafe { instance.get_physical_device_features2(physical, &mut all) };
    let mut sizes = vk::PhysicalDeviceVulkan13Properties::default();
    let mut matrices = vk::PhysicalDeviceCooperativeMatrixPropertiesKHR::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut sizes).push_next(&mut matrices);
    // SAFETY: as above.
    unsafe { instance.get_physical_device_properties2(physical, &mut all) };
    let compute = vk::ShaderStageFlags::COMPUTE;
    if feature.cooperative_matrix == vk::FALSE
        || !matrices.cooperative_matrix_supported_stages.contains(compute)
        || !sizes.required_subgroup_size_stages.contains(compute)
    {
        return Ok(None);
    }
    let list = khr::cooperative_matrix::Instance::new(entry, instance);
    // SAFETY: the device is the instance's and knows the extension.
    let listed = calls.make(Call::CooperativeMatrices, || unsafe {
        list.get_physical_device_cooperative_matrix_properties(physical)
    })?;
    Ok(largest(&listed))
}

/// The largest of those listed that fit, the first of equals.
fn largest(listed: &[vk::CooperativeMatrixPropertiesKHR<'_>]) -> Option<CooperativeMatrices> {
    let (half, single) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
    listed
        .iter()
        .filter(|p| [p.a_type, p.b_type, p.c_type, p.result_type] == [half, half, single, single])
        .filter(|p| p.scope == vk::ScopeKHR::SUBGROUP)
        .map(|p| CooperativeMatrices { m: p.m_size, n: p.n_size, k: p.k_size })
        .filter(CooperativeMatrices::fits)
        .rev()
        .max_by_key(|found| found.m * found.n * found.k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(sides: [u32; 3], result: vk::ComponentTypeKHR) -> vk::CooperativeMatrixPropertiesKHR<'static> {
        let half = vk::ComponentTypeKHR::FLOAT16;
        vk::CooperativeMatrixPropertiesKHR::default()
            .m_size(sides[0])
            .n_size(sides[1])
            .k_size(sides[2])
            .a_type(half)
            .b_type(half)
            .c_type(result)
            .result_type(result)
            .scope(vk::ScopeKHR::SUBGROUP)
    }

    #[test]
    fn the_largest_that_fits_is_taken() {
        let (half, single) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
        let taken = |of: &[_]| largest(of).map(|found| [found.m, found.n, found.k]);
        assert_eq!(taken(&[]), None);
        assert_eq!(taken(&[listed([16, 16, 16], half)]), None, "sums are of f32");
        let three = [[16, 8, 8], [16, 8, 16], [8, 16, 16]].map(|sides| listed(sides, single));
        assert_eq!(taken(&three), Some([16, 8, 16]));
        assert_eq!(
            taken(&[three[0], listed([48, 16, 16], single)]),
            Some([16, 8, 8]),
            "48 does not fit in 32"
        );
        assert_eq!(taken(&[listed([4, 16, 16], single)]), None, "not of eights");
        let workgroup = listed([32, 32, 32], single).scope(vk::ScopeKHR::WORKGROUP);
        assert_eq!(taken(&[workgroup]), None);
    }
}
