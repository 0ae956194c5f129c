//! Adapters of the domain's ports to AWS: tables, queue, bucket, mail and download links, and the settings that name
//! them.
//!
//! This crate owns every call to AWS and every name in a table, a message or a bucket. It must not know HTTP requests,
//! and it makes no decisions about an export: the domain does.
//!
//! Each service is behind a feature, so that a function's binary links only the clients it uses.

#[cfg(feature = "bucket")]
pub mod bucket;
mod config;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(any(feature = "bucket", feature = "dynamodb", feature = "mail", feature = "queue"))]
mod error;
#[cfg(feature = "bucket")]
mod files;
#[cfg(feature = "bucket")]
mod links;
#[cfg(feature = "mail")]
pub mod mail;
#[cfg(feature = "bucket")]
mod presign;
#[cfg(feature = "queue")]
pub mod queue;
#[cfg(test)]
mod server;
pub mod settings;
pub mod system;
#[cfg(test)]
mod testing;
#[cfg(test)]
#[cfg(all(feature = "bucket", feature = "dynamodb", feature = "mail", feature = "queue"))]
mod wire;

pub use config::sdk_config;
