//! The command line as its users meet it: the real binary, its exit codes and what it prints. What it starts is ended
//! by its own id, and waiting is for something to be seen, never for time to pass.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[cfg(feature = "cluster")]
mod api;
#[cfg(feature = "cluster")]
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod compare;
mod demo;
#[cfg(feature = "cluster")]
mod flags;
#[cfg(feature = "cluster")]
mod init;
#[cfg(feature = "cluster")]
mod installation;
mod local;
#[cfg(feature = "cluster")]
mod login;
mod probe;
mod prometheus;
#[cfg(feature = "cluster")]
mod proxy;
mod readme;
mod routes;
mod server;
mod shell;
mod support;
mod tls;
mod verdict;
