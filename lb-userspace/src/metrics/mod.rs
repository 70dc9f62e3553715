//! Figures for Prometheus (`metrics_listen`): in the OpenMetrics text format, named by the conventions
//! of the Prometheus documentation (base units, `_total`, labels for what is counted apart).

mod families;
mod server;

use std::fmt;

use prometheus_client::{encoding::text, registry::Registry};

use crate::report::Snapshot;

pub use server::{Server, ServerError};

/// The content type of [`text`] (OpenMetrics 1.0, section "Overall structure").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is known, as Prometheus reads it.
///
/// # Errors
/// None: what is written to is a text.
pub fn text(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("lb");
    registry.register_collector(Box::new(families::Figures(snapshot)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
