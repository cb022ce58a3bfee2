//! What a shape of workgroups needs of a device.

use crate::limits::Limits;

/// Of one workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) invocations: u32,
    pub(crate) shared_bytes: u32,
}

/// More than a device allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) what: &'static str,
    pub(crate) needed: u32,
    pub(crate) most: u32,
}

impl Needs {
    /// # Errors
    /// What the device has too little of.
    pub(crate) fn fit(self, device: &Limits) -> Result<(), TooLarge> {
        let Self { invocations, shared_bytes } = self;
        for (what, needed, most) in [
            ("invocations", invocations, device.workgroup),
            ("bytes of shared memory", shared_bytes, device.shared_bytes),
        ] {
            if needed > most {
                return Err(TooLarge { what, needed, most });
            }
        }
        Ok(())
    }
}
