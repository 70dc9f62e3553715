//! lb userspace.
