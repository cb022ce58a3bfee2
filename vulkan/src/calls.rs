//! The calls into Vulkan that can fail, by name, and the place where tests make them fail.
//!
//! Every call that gives back a `VkResult` goes through [`Calls::make`], so a test can let each of them fail once
//! (fault 59) without a broken driver.

use std::fmt;
use std::sync::Arc;

use ash::vk;

/// A call into Vulkan that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Call {
    CreateInstance,
    EnumerateLayers,
    EnumerateExtensions,
    EnumerateDevices,
    CooperativeMatrices,
    CreateMessenger,
    CreateDevice,
    CreateAllocator,
    CreateSemaphore,
    CreateBuffer,
    AllocateMemory,
    HostPointerProperties,
    BindMemory,
    CreateShaderModule,
    CreatePipelineLayout,
    CreatePipelineCache,
    CreatePipeline,
    CreateCommandPool,
    AllocateCommandBuffers,
    ResetCommandPool,
    BeginCommandBuffer,
    EndCommandBuffer,
    CreateQueryPool,
    QueryResults,
    Submit,
    WaitSemaphores,
    SemaphoreCounter,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::CreateInstance,
        Self::EnumerateLayers,
        Self::EnumerateExtensions,
        Self::EnumerateDevices,
        Self::CooperativeMatrices,
        Self::CreateMessenger,
        Self::CreateDevice,
        Self::CreateAllocator,
        Self::CreateSemaphore,
        Self::CreateBuffer,
        Self::AllocateMemory,
        Self::HostPointerProperties,
        Self::BindMemory,
        Self::CreateShaderModule,
        Self::CreatePipelineLayout,
        Self::CreatePipelineCache,
        Self::CreatePipeline,
        Self::CreateCommandPool,
        Self::AllocateCommandBuffers,
        Self::ResetCommandPool,
        Self::BeginCommandBuffer,
        Self::EndCommandBuffer,
        Self::CreateQueryPool,
        Self::QueryResults,
        Self::Submit,
        Self::WaitSemaphores,
        Self::SemaphoreCounter,
    ];
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateInstance => "vkCreateInstance",
            Self::EnumerateLayers => "vkEnumerateInstanceLayerProperties",
            Self::EnumerateExtensions => {
                "vkEnumerateInstanceExtensionProperties or vkEnumerateDeviceExtensionProperties"
            }
            Self::EnumerateDevices => "vkEnumeratePhysicalDevices",
            Self::CooperativeMatrices => "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR",
            Self::CreateMessenger => "vkCreateDebugUtilsMessengerEXT",
            Self::CreateDevice => "vkCreateDevice",
            Self::CreateAllocator => "the allocator's set-up",
            Self::CreateSemaphore => "vkCreateSemaphore",
            Self::CreateBuffer => "vkCreateBuffer",
            Self::AllocateMemory => "vkAllocateMemory",
            Self::HostPointerProperties => "vkGetMemoryHostPointerPropertiesEXT",
            Self::BindMemory => "vkBindBufferMemory",
            Self::CreateShaderModule => "vkCreateShaderModule",
            Self::CreatePipelineLayout => "vkCreatePipelineLayout",
            Self::CreatePipelineCache => "vkCreatePipelineCache",
            Self::CreatePipeline => "vkCreateComputePipelines",
            Self::CreateCommandPool => "vkCreateCommandPool",
            Self::AllocateCommandBuffers => "vkAllocateCommandBuffers",
            Self::ResetCommandPool => "vkResetCommandPool",
            Self::BeginCommandBuffer => "vkBeginCommandBuffer",
            Self::EndCommandBuffer => "vkEndCommandBuffer",
            Self::CreateQueryPool => "vkCreateQueryPool",
            Self::QueryResults => "vkGetQueryPoolResults",
            Self::Submit => "vkQueueSubmit2",
            Self::WaitSemaphores => "vkWaitSemaphores",
            Self::SemaphoreCounter => "vkGetSemaphoreCounterValue",
        })
    }
}

/// What a test lets a call give back instead of being made. `None`: the call is made.
pub type Fault = dyn Fn(Call) -> Option<vk::Result> + Send + Sync;

/// Makes the calls, or lets them fail where a test wants that.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    fault: Option<Arc<Fault>>,
}

impl Calls {
    pub(crate) fn failing(fault: Option<Arc<Fault>>) -> Self {
        Self { fault }
    }

    /// `made()`, unless the test has another answer.
    pub(crate) fn make<T>(
        &self,
        call: Call,
        made: impl FnOnce() -> Result<T, vk::Result>,
    ) -> Result<T, vk::Result> {
        match self.fault.as_ref().and_then(|fault| fault(call)) {
            Some(result) => Err(result),
            None => made(),
        }
    }
}
