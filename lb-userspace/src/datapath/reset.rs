//! Tells both ends of a flow that it is over: RST with the sequence number that each end takes next,
//! by its last acknowledgement. An end that has taken more meanwhile challenges (RFC 5961, section
//! 3.2), and whoever gets that challenge knows no such connection: its RST has the exact number.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lb_common::{Flow, FlowKey, Ip, Port, checksum};

use super::{error::DatapathError, raw_socket::RawSocket};

const TCP_HEADER: usize = 20;
const RST: u8 = 0x04;
const TCP: u8 = 6;
const TTL: u8 = 64;

/// How long one reset may wait for room on its way out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends resets.
pub struct Resetter(RawSocket);

impl Resetter {
    /// Opens the sockets.
    pub fn open() -> Result<Self, DatapathError> {
        RawSocket::open(Some(PATIENCE)).map(Self)
    }

    /// Resets both ends of a flow whose backend listens on `backend`, and sees it come from
    /// `leaves_from` if not from the client. Waits while the way out is busy.
    ///
    /// # Errors
    /// Where the kernel does not send one of the two.
    pub fn reset(
        &self,
        key: &FlowKey<Ip>,
        flow: &Flow,
        backend: SocketAddr,
        leaves_from: Option<(IpAddr, u16)>,
    ) -> io::Result<()> {
        let [to_client, to_backend] = resets(key, flow, backend, leaves_from);
        let told = self.0.send(&to_client);
        self.0.send(&to_backend).and(told)
    }
}

/// The two IP packets: to who opened the flow from whom it was opened to, and the other way round,
/// each as that end knows the flow.
pub fn resets(
    key: &FlowKey<Ip>,
    flow: &Flow,
    backend: SocketAddr,
    leaves_from: Option<(IpAddr, u16)>,
) -> [Vec<u8>; 2] {
    let end = |address: Ip, port: Port| SocketAddr::new(address.into(), port.get());
    let (client, vip) = (end(key.client, key.client_port), end(key.vip, key.vip_port));
    let seen = leaves_from.map_or(client, SocketAddr::from);
    let far = if flow.snat.is_outbound() { vip } else { backend };
    [packet(vip, client, flow.client_ack), packet(seen, far, flow.backend_ack)]
}

fn packet(source: SocketAddr, to: SocketAddr, seq: u32) -> Vec<u8> {
    let mut tcp = [0; TCP_HEADER];
    tcp[0..2].copy_from_slice(&source.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[12] = (TCP_HEADER as u8 / 4) << 4;
    tcp[13] = RST;
    let addresses = sum_of(source.ip()) + sum_of(to.ip());
    let pseudo = addresses + u64::from(TCP) + TCP_HEADER as u64;
    let of_tcp = checksum::of_sum(checksum::sum(&tcp) + pseudo);
    tcp[16..18].copy_from_slice(&of_tcp.to_be_bytes());
    match (source.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(to)) => [&header4(source, to)[..], &tcp].concat(),
        (source, to) => [&header6(v6(source), v6(to))[..], &tcp].concat(),
    }
}

fn header4(source: Ipv4Addr, to: Ipv4Addr) -> [u8; 20] {
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((20 + TCP_HEADER) as u16).to_be_bytes());
    // Do not fragment.
    ip[6] = 0x40;
    ip[8] = TTL;
    ip[9] = TCP;
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&to.octets());
    let check = checksum::of_sum(checksum::sum(&ip));
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    ip
}

fn header6(source: Ipv6Addr, to: Ipv6Addr) -> [u8; 40] {
    let mut ip = [0; 40];
    ip[0] = 0x60;
    ip[4..6].copy_from_slice(&(TCP_HEADER as u16).to_be_bytes());
    ip[6] = TCP;
    ip[7] = TTL;
    ip[8..24].copy_from_slice(&source.octets());
    ip[24..40].copy_from_slice(&to.octets());
    ip
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn sum_of(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => checksum::sum(&address.octets()),
        IpAddr::V6(address) => checksum::sum(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
    use lb_common::Snat;

    const NEXT: [u32; 2] = [0x0102_0304, 0xffff];

    fn end(text: &str) -> SocketAddr {
        text.parse().expect("an address and a port")
    }

    /// Ends of a right reset without acknowledgement, and its sequence number.
    fn judge(packet: &[u8]) -> (SocketAddr, SocketAddr, u32) {
        let headers = PacketHeaders::from_ip_slice(packet).expect("a packet");
        let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("no TCP") };
        assert!(tcp.rst && !tcp.ack && !tcp.syn);
        let (from, to, right): (IpAddr, IpAddr, _) = match headers.net.expect("IP") {
            NetHeaders::Ipv4(ip, _) => {
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                let right = tcp.calc_checksum_ipv4(&ip, &[]);
                (ip.source.into(), ip.destination.into(), right)
            }
            NetHeaders::Ipv6(ip, _) => {
                let right = tcp.calc_checksum_ipv6(&ip, &[]);
                (ip.source.into(), ip.destination.into(), right)
            }
            NetHeaders::Arp(_) => panic!("no IP"),
        };
        assert_eq!(tcp.checksum, right.expect("short"));
        let ends = (from, tcp.source_port, to, tcp.destination_port);
        (SocketAddr::new(ends.0, ends.1), SocketAddr::new(ends.2, ends.3), tcp.sequence_number)
    }

    fn check(client: &str, vip: &str, backend: &str, snat: Option<(&str, u16)>) {
        let (client, vip, backend) = (end(client), end(vip), end(backend));
        let (from, to) = ((client.ip().into(), client.port()), (vip.ip().into(), vip.port()));
        let key = FlowKey::tcp(from.0, Port::new(from.1), to.0, Port::new(to.1));
        let leaves_from = snat.map(|(text, _)| end(text));
        let snat = snat.map_or(Snat::NONE, |(_, service)| Snat::new(1, Port::new(7), service));
        let flow = Flow {
            client_ack: NEXT[0],
            backend_ack: NEXT[1],
            ..Flow::opening(0, 1, 0).leaving_from(snat)
        };
        let ends = leaves_from.map(|end| (end.ip(), end.port()));
        let [to_client, to_backend] = resets(&key, &flow, backend, ends);
        assert_eq!(judge(&to_client), (vip, client, NEXT[0]));
        let far = if flow.snat.is_outbound() { vip } else { backend };
        assert_eq!(judge(&to_backend), (leaves_from.unwrap_or(client), far, NEXT[1]));
    }

    #[test]
    fn each_end_gets_the_number_that_it_takes_next_from_whom_it_knows() {
        check("10.1.0.2:4711", "10.1.0.100:5060", "10.2.0.11:5061", None);
        check("10.1.0.2:4711", "10.1.0.100:5060", "10.2.0.11:5061", Some(("10.2.0.200:1024", 3)));
        check("[fd00::2]:4711", "[fd00::100]:5060", "[fd01::11]:5061", None);
        check("[fd00::2]:1", "[fd00::100]:2", "[fd01::11]:3", Some(("[fd00::c8]:65535", 1)));
        // A node opened it: it is the client, and the remote end is the VIP.
        check("10.2.0.11:40000", "198.51.100.9:5060", "10.2.0.11:5060", Some(("10.1.0.100:9", 0)));
    }
}
