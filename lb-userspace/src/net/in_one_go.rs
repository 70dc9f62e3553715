//! Requests that the kernel carries out in one call. The connections of rtnetlink send each in a call of its own,
//! and between two calls a process can be killed.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols};

/// Where a message begins in a datagram (include/uapi/linux/netlink.h, `NLMSG_ALIGNTO`).
const ALIGNMENT: usize = 4;

/// Sends requests, each with its flags beside those that ask for an answer, in one datagram: the kernel carries
/// all of them out before the call returns, also those behind one that it refuses (net/netlink/af_netlink.c,
/// `netlink_rcv_skb`). Its answers are in their order.
///
/// # Errors
/// No socket is to be had, or the kernel did not get the requests, or what it says is not understood.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn in_one_go<const N: usize>(
    requests: [(RouteNetlinkMessage, u16); N],
) -> io::Result<[io::Result<()>; N]> {
    let mut socket = TokioSocket::new(protocols::NETLINK_ROUTE)?;
    socket.socket_mut().bind_auto()?;
    let kernel = SocketAddr::new(0, 0);
    socket.send_to(&datagram(requests), &kernel).await?;

    let mut answers = [const { Ok(()) }; N];
    for answer in &mut answers {
        let (bytes, _) = socket.recv_from_full().await?;
        *answer = read_answer(&bytes)?;
    }
    Ok(answers)
}

fn datagram<const N: usize>(requests: [(RouteNetlinkMessage, u16); N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (request, flags) in requests {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(ALIGNMENT), 0);
        message.serialize(&mut bytes[start..]);
    }
    bytes
}

fn read_answer(bytes: &[u8]) -> io::Result<io::Result<()>> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
        .map_err(|error| io::Error::other(error.to_string()))?;
    match message.payload {
        NetlinkPayload::Error(answer) if answer.code.is_none() => Ok(Ok(())),
        NetlinkPayload::Error(answer) => Ok(Err(answer.to_io())),
        other => Err(io::Error::other(format!("{other:?} is no answer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_core::NLM_F_CREATE;
    use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
    use rtnetlink::packet_route::route::RouteProtocol;

    #[test]
    fn a_datagram_has_all_requests_each_where_the_kernel_looks_for_it() {
        let mut neighbour = NeighbourMessage::default();
        neighbour.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Static));
        let requests = [
            (RouteNetlinkMessage::DelNeighbour(neighbour.clone()), 0),
            (RouteNetlinkMessage::NewNeighbour(neighbour), NLM_F_CREATE),
        ];
        let bytes = datagram(requests.clone());
        let mut rest = &bytes[..];
        for (request, flags) in requests {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).unwrap();
            assert_eq!(message.header.flags, NLM_F_REQUEST | NLM_F_ACK | flags);
            assert_eq!(message.payload, NetlinkPayload::InnerMessage(request));
            rest = &rest[(message.header.length as usize).next_multiple_of(ALIGNMENT)..];
        }
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn each_has_its_answer_also_behind_one_that_is_refused() {
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.ifindex = i32::MAX as u32;
        let request = (RouteNetlinkMessage::DelNeighbour(neighbour), 0);
        let answers = in_one_go([request.clone(), request]).await.unwrap();
        for answer in answers {
            // Who may not ask is told so; who may, what is wrong with it.
            let errno = answer.unwrap_err().raw_os_error();
            assert!([Some(libc::EPERM), Some(libc::ENODEV), Some(libc::EINVAL)].contains(&errno));
        }
    }
}
