//! Tells both ends of a flow that it is over: RST with the exact sequence number that each end
//! takes next (RFC 5961, section 3.2: any other draws a challenge).

use std::{io, net::SocketAddrV4, time::Duration};

use lb_common::{Flow, FlowKey, checksum};

use super::{error::DatapathError, handoff::RawSocket};

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const RST: u8 = 0x04;
const TCP: u8 = 6;

/// How long one reset may wait for room on its way out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends resets.
pub struct Resetter(RawSocket);

impl Resetter {
    /// Opens the socket.
    pub fn open() -> Result<Self, DatapathError> {
        RawSocket::open(Some(PATIENCE)).map(Self)
    }

    /// Resets both ends of a flow whose backend listens on `backend`. Waits while the way out is
    /// busy.
    ///
    /// # Errors
    /// Where the kernel does not send one of the two.
    pub fn reset(&self, key: &FlowKey, flow: &Flow, backend: SocketAddrV4) -> io::Result<()> {
        let [to_client, to_backend] = resets(key, flow, backend);
        let told = self.0.send(&to_client);
        self.0.send(&to_backend).and(told)
    }
}

/// The two IPv4 packets: to the client from the VIP, and to the backend from the client.
pub fn resets(
    key: &FlowKey,
    flow: &Flow,
    backend: SocketAddrV4,
) -> [[u8; IP_HEADER + TCP_HEADER]; 2] {
    let client = (key.client.to_be_bytes(), key.client_port.to_be_bytes());
    let vip = (key.vip.to_be_bytes(), key.vip_port.to_be_bytes());
    let backend = (backend.ip().octets(), backend.port().to_be_bytes());
    [packet(vip, client, flow.client_ack), packet(client, backend, flow.backend_ack)]
}

type End = ([u8; 4], [u8; 2]);

fn packet((source, source_port): End, (to, to_port): End, seq: u32) -> [u8; 40] {
    let mut packet = [0; IP_HEADER + TCP_HEADER];
    let (ip, tcp) = packet.split_at_mut(IP_HEADER);
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((IP_HEADER + TCP_HEADER) as u16).to_be_bytes());
    // Do not fragment.
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = TCP;
    ip[12..16].copy_from_slice(&source);
    ip[16..20].copy_from_slice(&to);
    let of_ip = checksum::of_sum(checksum::sum(ip));
    ip[10..12].copy_from_slice(&of_ip.to_be_bytes());

    tcp[0..2].copy_from_slice(&source_port);
    tcp[2..4].copy_from_slice(&to_port);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[12] = (TCP_HEADER as u8 / 4) << 4;
    tcp[13] = RST;
    let addresses = checksum::sum(&source) + checksum::sum(&to);
    let pseudo = addresses + u64::from(TCP) + TCP_HEADER as u64;
    let of_tcp = checksum::of_sum(checksum::sum(tcp) + pseudo);
    tcp[16..18].copy_from_slice(&of_tcp.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::{Ip4, Port};

    #[test]
    fn each_end_gets_the_number_that_it_takes_next_from_whom_it_knows() {
        let key = FlowKey::tcp(
            Ip4::from_be_bytes([10, 1, 0, 2]),
            Port::new(4711),
            Ip4::from_be_bytes([10, 1, 0, 100]),
            Port::new(5060),
        );
        let flow = Flow { client_ack: 0x0102_0304, ..Flow::opening(0, 0xfffe, 0) };
        let [to_client, to_backend] =
            resets(&key, &flow, SocketAddrV4::new([10, 2, 0, 11].into(), 5061));

        assert_eq!(to_client[12..20], [10, 1, 0, 100, 10, 1, 0, 2]);
        assert_eq!(to_client[20..28], [0x13, 0xc4, 0x12, 0x67, 1, 2, 3, 4]);
        assert_eq!(to_backend[12..20], [10, 1, 0, 2, 10, 2, 0, 11]);
        assert_eq!(to_backend[20..28], [0x12, 0x67, 0x13, 0xc5, 0, 0, 0xff, 0xff]);
        for packet in [to_client, to_backend] {
            let headers = etherparse::PacketHeaders::from_ip_slice(&packet).expect("a packet");
            let Some(etherparse::NetHeaders::Ipv4(ip, _)) = headers.net else { panic!("no IPv4") };
            let Some(etherparse::TransportHeader::Tcp(tcp)) = headers.transport else {
                panic!("no TCP")
            };
            assert!(tcp.rst && !tcp.ack && !tcp.syn);
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, &[]).expect("short"));
        }
    }
}
