//! The test bed: echo backends that can misbehave, the gateway as a real process, directories that change as kubelet
//! and people change them, and clients that see every byte.
//!
//! Everything binds a free port on loopback, waits with [`eventually`] and never with a bare sleep, and takes its
//! processes, files and sockets with it when it is dropped.

pub mod bed;
pub mod certificates;
pub mod client;
pub mod dns;
pub mod echo;
pub mod frames;
pub mod gateway;
pub mod mount;
pub mod process;
pub mod routes;
pub mod scripted;
pub mod wire;

mod eventually;
pub use eventually::eventually;
