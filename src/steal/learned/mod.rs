//! What workers learn while they run (`policy.md` in the design): so far how long to spin before they sleep ([`hedge`]).
//!
//! Plain state of one worker each, fed with what that worker has seen. A wrong guess costs time, never work.

pub(crate) mod hedge;
