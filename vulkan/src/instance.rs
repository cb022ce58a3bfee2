//! The loader, the instance and the list of devices: what there is before one is opened.

use std::ffi::{c_void, CStr, CString};
use std::sync::{Mutex, PoisonError};

use ash::{ext, khr, vk, Entry};

use crate::calls::{Call, Calls};
use crate::choice::Kind;
use crate::chosen::choose;
use crate::error::{Reason, VulkanUnavailable};
use crate::options::Options;

const VALIDATION: &CStr = c"VK_LAYER_KHRONOS_validation";

/// A device of this machine, opened or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The Vulkan version that it knows, as `(major, minor, patch)`.
    pub version: (u32, u32, u32),
    /// The driver's name and version, in its own words.
    pub driver: String,
    /// Bytes of memory that is its own or counts as such.
    pub memory: u64,
    /// Numbers of its vendor and of the device, and of the driver's version.
    pub(crate) numbers: [u32; 3],
}

/// A live instance. The validation layer's messages arrive in `messages`.
pub(crate) struct Instance {
    messenger: Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    raw: ash::Instance,
    // Boxed: the layer keeps its address.
    messages: Box<Mutex<Vec<String>>>,
    // The library's functions live as long as this does.
    entry: Entry,
}

fn unavailable(reason: Reason) -> VulkanUnavailable {
    VulkanUnavailable { reason }
}

fn failed(call: Call) -> impl Fn(vk::Result) -> VulkanUnavailable {
    move |result| VulkanUnavailable::of(call, result)
}

fn version(raw: u32) -> (u32, u32, u32) {
    (vk::api_version_major(raw), vk::api_version_minor(raw), vk::api_version_patch(raw))
}

fn dotted((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{patch}")
}

impl Instance {
    pub(crate) fn new(options: &Options, calls: &Calls) -> Result<Self, VulkanUnavailable> {
        options.check()?;
        let loaded = match &options.loader {
            // SAFETY: the user says that this is a Vulkan loader; its functions are not used after `entry`.
            Some(path) => unsafe { Entry::load_from(path) },
            // SAFETY: the loader is the system's own; its functions are not used after `entry`.
            None => unsafe { Entry::load() },
        };
        let entry = loaded.map_err(|error| unavailable(Reason::NoLoader { message: error.to_string() }))?;
        // SAFETY: the entry is loaded.
        let loader = unsafe { entry.try_enumerate_instance_version() };
        let loader = loader.map_err(failed(Call::CreateInstance))?.unwrap_or(vk::API_VERSION_1_0);
        if loader < vk::API_VERSION_1_3 {
            let what = "the Vulkan loader".to_owned();
            return Err(unavailable(Reason::Version { what, found: dotted(version(loader)) }));
        }
        let messages = Box::new(Mutex::new(Vec::new()));
        // SAFETY: the entry is loaded.
        let known = calls
            .make(Call::EnumerateExtensions, || unsafe {
                entry.enumerate_instance_extension_properties(None)
            })
            .map_err(failed(Call::EnumerateExtensions))?;
        // Without it the loader hides drivers that are not wholly Vulkan, such as MoltenVK's on Apple's machines.
        let portable = known
            .iter()
            .any(|extension| extension.extension_name_as_c_str() == Ok(khr::portability_enumeration::NAME));
        let mut extensions = Vec::new();
        let mut layers = Vec::new();
        let mut flags = vk::InstanceCreateFlags::empty();
        if portable {
            extensions.push(khr::portability_enumeration::NAME.as_ptr());
            flags |= vk::InstanceCreateFlags::ENUMERATE_PORTABILITY_KHR;
        }
        if options.validate {
            // SAFETY: the entry is loaded.
            let known =
                calls.make(Call::EnumerateLayers, || unsafe { entry.enumerate_instance_layer_properties() });
            let known = known.map_err(failed(Call::EnumerateLayers))?;
            if !known.iter().any(|layer| layer.layer_name_as_c_str() == Ok(VALIDATION)) {
                return Err(unavailable(Reason::NoValidation));
            }
            layers.push(VALIDATION.as_ptr());
            extensions.extend([ext::debug_utils::NAME.as_ptr(), ext::validation_features::NAME.as_ptr()]);
        }
        let name = CString::new("upbeat").expect("no zero inside");
        let application = vk::ApplicationInfo::default()
            .application_name(&name)
            .engine_name(&name)
            .api_version(vk::API_VERSION_1_3);
        let checks = [
            vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION,
            vk::ValidationFeatureEnableEXT::BEST_PRACTICES,
        ];
        let mut features = vk::ValidationFeaturesEXT::default().enabled_validation_features(&checks);
        let mut create = vk::InstanceCreateInfo::default()
            .flags(flags)
            .application_info(&application)
            .enabled_layer_names(&layers)
            .enabled_extension_names(&extensions);
        if options.validate {
            create = create.push_next(&mut features);
        }
        // SAFETY: every pointer in the structure outlives the call.
        let raw = calls.make(Call::CreateInstance, || unsafe { entry.create_instance(&create, None) });
        let raw = raw.map_err(|result| match result {
            // What a loader says that has no driver at all.
            vk::Result::ERROR_INCOMPATIBLE_DRIVER => unavailable(Reason::NoDevice),
            other => VulkanUnavailable::of(Call::CreateInstance, other),
        })?;
        let mut instance = Self { messenger: None, raw, messages, entry };
        if options.validate {
            instance.listen(calls)?;
        }
        Ok(instance)
    }

    fn listen(&mut self, calls: &Calls) -> Result<(), VulkanUnavailable> {
        let debug = ext::debug_utils::Instance::new(&self.entry, &self.raw);
        let severity =
            vk::DebugUtilsMessageSeverityFlagsEXT::WARNING | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR;
        let create = vk::DebugUtilsMessengerCreateInfoEXT::default()
            .message_severity(severity)
            .message_type(
                vk::DebugUtilsMessageTypeFlagsEXT::GENERAL
                    | vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION
                    | vk::DebugUtilsMessageTypeFlagsEXT::PERFORMANCE,
            )
            .pfn_user_callback(Some(heard))
            .user_data(std::ptr::from_ref::<Mutex<Vec<String>>>(&self.messages).cast_mut().cast());
        // SAFETY: the extension is enabled; the messages stay where they are until the messenger is gone.
        let messenger = calls
            .make(Call::CreateMessenger, || unsafe { debug.create_debug_utils_messenger(&create, None) });
        self.messenger = Some((debug, messenger.map_err(failed(Call::CreateMessenger))?));
        Ok(())
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) fn raw(&self) -> &ash::Instance {
        &self.raw
    }

    /// What the validation layer has said since it was last asked.
    pub(crate) fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The devices, in the loader's order.
    pub(crate) fn devices(
        &self,
        calls: &Calls,
    ) -> Result<Vec<(vk::PhysicalDevice, DeviceInfo)>, VulkanUnavailable> {
        // SAFETY: the instance is alive.
        let found = calls.make(Call::EnumerateDevices, || unsafe { self.raw.enumerate_physical_devices() });
        let found = found.map_err(failed(Call::EnumerateDevices))?;
        Ok(found.into_iter().map(|device| (device, self.describe(device))).collect())
    }

    fn describe(&self, device: vk::PhysicalDevice) -> DeviceInfo {
        // SAFETY: the device is the instance's.
        let plain = unsafe { self.raw.get_physical_device_properties(device) };
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        if plain.api_version >= vk::API_VERSION_1_2 {
            let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            // SAFETY: the device is the instance's and knows the structure, of Vulkan 1.2.
            unsafe { self.raw.get_physical_device_properties2(device, &mut all) };
        }
        // SAFETY: as above.
        let memory = unsafe { self.raw.get_physical_device_memory_properties(device) };
        let heaps = memory.memory_heaps_as_slice();
        let own = heaps.iter().filter(|heap| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
        let word =
            |text: Result<&CStr, _>| text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let (name, info) = (word(driver.driver_name_as_c_str()), word(driver.driver_info_as_c_str()));
        DeviceInfo {
            name: word(plain.device_name_as_c_str()),
            kind: match plain.device_type {
                vk::PhysicalDeviceType::DISCRETE_GPU => Kind::Discrete,
                vk::PhysicalDeviceType::INTEGRATED_GPU => Kind::Integrated,
                vk::PhysicalDeviceType::VIRTUAL_GPU => Kind::Virtual,
                vk::PhysicalDeviceType::CPU => Kind::Cpu,
                _ => Kind::Other,
            },
            version: version(plain.api_version),
            driver: format!("{name} {info}").trim().to_owned(),
            memory: own.map(|heap| heap.size).sum(),
            numbers: [plain.vendor_id, plain.device_id, plain.driver_version],
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some((debug, messenger)) = self.messenger.take() {
            // SAFETY: it was made by this instance and is destroyed once.
            unsafe { debug.destroy_debug_utils_messenger(messenger, None) };
        }
        // SAFETY: what was made by the instance is gone: devices keep it alive.
        unsafe { self.raw.destroy_instance(None) };
    }
}

/// Keeps a message. Messages of the loader about other layers and drivers are not about us.
unsafe extern "system" fn heard(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    kinds: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    messages: *mut c_void,
) -> vk::Bool32 {
    if kinds != vk::DebugUtilsMessageTypeFlagsEXT::GENERAL {
        // SAFETY: the layer hands over valid data for the time of the call.
        let text = unsafe { (*data).message_as_c_str() };
        // SAFETY: it is the address that `listen` gave, of messages that outlive the messenger.
        let messages = unsafe { &*messages.cast::<Mutex<Vec<String>>>() };
        let text = text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        messages.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
    vk::FALSE
}

/// The machine's Vulkan devices, in the order that [`Choice::Index`](crate::Choice::Index) counts.
///
/// # Errors
/// [`VulkanUnavailable`] without a loader of Vulkan 1.3, or when the loader cannot list them.
pub fn devices() -> Result<Vec<DeviceInfo>, VulkanUnavailable> {
    let calls = Calls::default();
    let instance = Instance::new(&Options::new(), &calls)?;
    Ok(instance.devices(&calls)?.into_iter().map(|(_, info)| info).collect())
}

impl Options {
    /// The place in [`devices`] of the device that [`Device::open`](crate::Device::open) would open.
    ///
    /// # Errors
    /// [`VulkanUnavailable`] as there.
    pub fn place(&self) -> Result<usize, VulkanUnavailable> {
        let calls = Calls::default();
        choose(&Instance::new(self, &calls)?, self, &calls).map(|chosen| chosen.place)
    }
}
