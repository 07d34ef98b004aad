//! Where a request comes from, behind the proxies that we trust.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use ipnet::IpNet;

/// The client's own address, left in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress(IpAddr);

impl ClientAddress {
    /// `headers` are believed only as far as trusted proxies wrote them: from the right, up to the
    /// first address that is none of theirs.
    fn new(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let trusts = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
        let mut client = peer.to_canonical();
        let values: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
            .flat_map(|value| value.split(','))
            .collect();
        for value in values.into_iter().rev() {
            if !trusts(client) {
                break;
            }
            let Some(before) = parse(value.trim()) else { break };
            client = before;
        }
        Self(client)
    }

    /// What is counted as one: an IPv4 address; of IPv6 the 64 bits that one subscriber has.
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let bits = address.to_bits() >> 64 << 64;
                Ipv6Addr::from_bits(bits).into()
            }
        }
    }
}

/// Some proxies write the port too.
fn parse(text: &str) -> Option<IpAddr> {
    let address =
        text.parse().or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// Leave the [`ClientAddress`] in the request.
pub(super) async fn find(
    State(trusted): State<Arc<[IpNet]>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = ClientAddress::new(peer.ip(), request.headers(), &trusted);
    request.extensions_mut().insert(client);
    next.run(request).await
}

#[cfg(test)]
impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&'static str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        let headers =
            forwarded.iter().map(|v| ("x-forwarded-for".parse().unwrap(), v.parse().unwrap()));
        let headers = headers.collect();
        ClientAddress::new(peer.parse().unwrap(), &headers, &trusted).0.to_string()
    }

    #[test]
    fn only_trusted_proxies_say_where_somebody_comes_from() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &[][..], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.9"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.9"], "198.51.100.9"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.9"], "198.51.100.9"),
            // what the client wrote itself is to the left
            ("10.0.0.1", &["203.0.113.5, 198.51.100.9"], "198.51.100.9"),
            ("10.0.0.1", &["203.0.113.5, 198.51.100.9,10.0.0.2"], "198.51.100.9"),
            ("10.0.0.1", &["203.0.113.5", "198.51.100.9", "10.0.0.2"], "198.51.100.9"),
            ("10.0.0.1", &["198.51.100.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("fd00::1", &["198.51.100.9:4711"], "198.51.100.9"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_subscribers_ipv6_addresses_count_as_one() {
        let network = |text: &str| ClientAddress(text.parse().unwrap()).network();
        assert_eq!(network("2001:db8:0:1::7"), network("2001:db8:0:1:ffff::1"));
        assert_ne!(network("2001:db8:0:1::7"), network("2001:db8:0:2::7"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
