//! The XDP mode that is really on for an interface, as the kernel says (`IFLA_XDP`), whatever was
//! asked for when the program was attached.

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};

use super::NetError;

/// Where an interface runs XDP, and the program's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// No program.
    None,
    /// In the driver.
    Native(u32),
    /// In the network stack, behind the driver.
    Generic(u32),
    /// In the network card.
    Offload(u32),
    /// In several places at once: the program in the driver, in the stack, in the card.
    Several {
        /// Program in the driver.
        native: Option<u32>,
        /// Program in the network stack.
        generic: Option<u32>,
        /// Program in the network card.
        offload: Option<u32>,
    },
}

impl XdpMode {
    /// The word for it in tables and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Native(_) => "native",
            Self::Generic(_) => "generic",
            Self::Offload(_) => "offload",
            Self::Several { .. } => "several",
        }
    }
}

/// Reads the mode of `interface`.
pub async fn xdp_mode(handle: &Handle, interface: &str) -> Result<XdpMode, NetError> {
    let links = handle.link().get().match_name(interface.to_string()).execute();
    let link = links.try_collect::<Vec<_>>().await.map_err(|error| {
        let error = NetError::netlink(format!("read the XDP mode of {interface}"), error);
        if error.is(libc::ENODEV) { NetError::NoInterface(interface.to_string()) } else { error }
    })?;
    let attributes = link.into_iter().next().map(|link| link.attributes).unwrap_or_default();
    let xdp = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp.as_slice()),
        _ => None,
    });
    Ok(mode(xdp.unwrap_or_default()))
}

fn mode(xdp: &[LinkXdp]) -> XdpMode {
    let mut attached = XdpAttached::None;
    let (mut only, mut native, mut generic, mut offload) = (None, None, None, None);
    for attribute in xdp {
        match attribute {
            LinkXdp::Attached(how) => attached = *how,
            LinkXdp::ProgId(id) => only = Some(*id),
            LinkXdp::DrvProgId(id) => native = Some(*id),
            LinkXdp::SkbProgId(id) => generic = Some(*id),
            LinkXdp::HwProgId(id) => offload = Some(*id),
            _ => {}
        }
    }
    match (attached, only) {
        (XdpAttached::Driver, Some(id)) => XdpMode::Native(id),
        (XdpAttached::SocketBuffer, Some(id)) => XdpMode::Generic(id),
        (XdpAttached::Hardware, Some(id)) => XdpMode::Offload(id),
        (XdpAttached::Multiple, _) => XdpMode::Several { native, generic, offload },
        _ => XdpMode::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_read_from_the_kernels_attributes() {
        use LinkXdp::{Attached, DrvProgId, ProgId, SkbProgId};
        assert_eq!(mode(&[]), XdpMode::None);
        assert_eq!(mode(&[Attached(XdpAttached::None)]), XdpMode::None);
        assert_eq!(
            mode(&[Attached(XdpAttached::Driver), ProgId(7), DrvProgId(7)]),
            XdpMode::Native(7)
        );
        assert_eq!(mode(&[Attached(XdpAttached::SocketBuffer), ProgId(8)]), XdpMode::Generic(8));
        assert_eq!(mode(&[Attached(XdpAttached::Hardware), ProgId(9)]), XdpMode::Offload(9));
        assert_eq!(
            mode(&[Attached(XdpAttached::Multiple), DrvProgId(1), SkbProgId(2)]),
            XdpMode::Several { native: Some(1), generic: Some(2), offload: None }
        );
    }
}
