//! The one way in which anything is asked of an address that a tenant named: SAML metadata, OIDC
//! discovery, an OpenID provider's endpoints.
//!
//! Whoever may write such a URL into an object makes this program connect to it, from inside the
//! cluster. So the fetch is `https` only, goes to no address inside the network unless the class
//! allows that, is bounded in size and time, and fails with a sentence that tells nothing of what
//! the inside answered.
//!
//! Trust roots are the platform's. `SSL_CERT_FILE` (a PEM bundle) and `SSL_CERT_DIR` *replace* them,
//! together if both are set: for a private CA beside the public ones set `SSL_CERT_FILE` to the
//! system's bundle and `SSL_CERT_DIR` to a directory with the private CA.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{ClientBuilder, RequestBuilder, Response, StatusCode};
use rustls::pki_types::ServerName;
use url::{Host, Url, form_urlencoded};

/// The longest document that is read, in bytes.
const MAX_BYTES: usize = 2 << 20;
/// Redirects that are followed; each is checked like the first address.
const MAX_REDIRECTS: usize = 3;
/// For the name, the TCP connection and the TLS handshake of one hop.
const CONNECT: Duration = Duration::from_secs(5);
/// For everything: names, connections, redirects, the whole body.
const WHOLE: Duration = Duration::from_secs(10);

/// Where a fetch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only globally routed unicast addresses.
    PublicOnly,
    /// Addresses inside the network and of this machine, too (a class's `allowPrivateEndpoints`);
    /// even so never a link-local, multicast or unspecified address, nor a cloud metadata service.
    PrivateAllowed,
}

/// Why nothing was fetched. The variants' names are metric labels; the sentences are conditions'
/// messages, hence stable, and without anything the other side said but its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error(
        "the URL, or one it redirects to, can't be used: write https://, a host and a path, without a user name or password"
    )]
    InvalidUrl,
    #[error("the URL, or one it redirects to, isn't https: use an https URL")]
    NotHttps,
    /// The URL itself names the address, so saying so tells nobody what is there.
    #[error(
        "the URL, or one it redirects to, names an address that isn't public: use a host name with a public address, or ask the platform team to allow private endpoints in the class"
    )]
    ForbiddenAddress,
    /// Also when a name has an address that is forbidden: telling that from a name that doesn't
    /// exist would let a tenant list the names of the inside.
    #[error(
        "the URL's host has no address that may be used: check the name; for a host inside the network, ask the platform team to allow private endpoints in the class"
    )]
    Unresolvable,
    #[error(
        "the URL's host doesn't answer: check host and port, and that it is reachable from the cluster"
    )]
    Unreachable,
    #[error(
        "the URL's host has no TLS certificate that is trusted here for its name: have its certificate mended, or ask the platform team to trust its certificate authority"
    )]
    Tls,
    #[error("the URL's host took too long to answer: it has 10 seconds for the whole document")]
    Timeout,
    #[error(
        "the document is larger than 2 MiB: use the URL of a document for this one identity provider"
    )]
    TooLarge,
    #[error("the URL redirects more than 3 times: use the URL it ends at")]
    TooManyRedirects,
    #[error(
        "the URL's host answers with HTTP status {0} instead of the document: check the path, and that it can be read without signing in"
    )]
    Status(u16),
}

impl FetchError {
    /// The variant's name: a metric label of few values.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidUrl => "InvalidUrl",
            Self::NotHttps => "NotHttps",
            Self::ForbiddenAddress => "ForbiddenAddress",
            Self::Unresolvable => "Unresolvable",
            Self::Unreachable => "Unreachable",
            Self::Tls => "Tls",
            Self::Timeout => "Timeout",
            Self::TooLarge => "TooLarge",
            Self::TooManyRedirects => "TooManyRedirects",
            Self::Status(_) => "Status",
        }
    }
}

/// Fetches documents. Made once for a reach: reading the trust roots costs some milliseconds.
#[derive(Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    reach: Reach,
    deadline: Duration,
}

impl Fetcher {
    /// Reads the trust roots; they are not read again.
    ///
    /// # Errors
    /// There are no trust roots on this machine, or not in `SSL_CERT_FILE`.
    pub fn new(reach: Reach) -> Result<Self, reqwest::Error> {
        Ok(Self { client: client(reach).build()?, reach, deadline: WHOLE })
    }

    /// The body of a `200 OK` at `url`, at most 2 MiB, within 10 seconds.
    ///
    /// # Errors
    /// Anything else; none of them is worth an immediate repetition.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        tokio::time::timeout(self.deadline, self.follow(url))
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    /// What `url` answers to a form (RFC 1866, section 8.2.1), whatever its status: at most 2 MiB,
    /// within 10 seconds. No redirect is followed, so that what is sent is seen by nobody else.
    ///
    /// # Errors
    /// No whole answer came.
    pub async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, FetchError> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.ask(url, authorization, |client, url| {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            client.post(url).header(CONTENT_TYPE, form_type).body(form)
        })
        .await
    }

    /// What `url` answers to who may ask by this header, like [`Fetcher::post_form`].
    ///
    /// # Errors
    /// No whole answer came.
    pub async fn get_authorized(
        &self,
        url: &str,
        authorization: HeaderValue,
    ) -> Result<Answer, FetchError> {
        self.ask(url, Some(authorization), |client, url| client.get(url)).await
    }

    async fn ask(
        &self,
        url: &str,
        authorization: Option<HeaderValue>,
        request: impl FnOnce(&reqwest::Client, Url) -> RequestBuilder,
    ) -> Result<Answer, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::InvalidUrl)?;
        admit(&url, self.reach)?;
        let mut request = request(&self.client, url).header(ACCEPT, "application/json");
        if let Some(mut authorization) = authorization {
            authorization.set_sensitive(true);
            request = request.header(AUTHORIZATION, authorization);
        }
        let answer = async {
            let response = request.send().await.map_err(|e| coarse(&e))?;
            Ok(Answer { status: response.status().as_u16(), body: whole(response).await? })
        };
        tokio::time::timeout(self.deadline, answer).await.unwrap_or(Err(FetchError::Timeout))
    }

    /// Follows redirects by hand, so that the URL that was checked is the very one requested:
    /// reqwest checks a redirect as a `Url` and requests it as a `http::Uri`, another parser.
    async fn follow(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let mut url = Url::parse(url).map_err(|_| FetchError::InvalidUrl)?;
        for _ in 0..=MAX_REDIRECTS {
            admit(&url, self.reach)?;
            let response = self.client.get(url.clone()).send().await.map_err(|e| coarse(&e))?;
            match redirect(&url, &response) {
                Some(next) => url = next,
                None => return body(response).await,
            }
        }
        Err(FetchError::TooManyRedirects)
    }
}

/// An answer, good or bad.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub body: Vec<u8>,
}

/// The fetchers for classes with and without private endpoints.
#[derive(Debug)]
pub struct Fetchers {
    public: Fetcher,
    private: Fetcher,
}

impl Fetchers {
    /// # Errors
    /// Those of [`Fetcher::new`].
    pub fn new() -> Result<Self, reqwest::Error> {
        let (public, private) = (Reach::PublicOnly, Reach::PrivateAllowed);
        Ok(Self { public: Fetcher::new(public)?, private: Fetcher::new(private)? })
    }

    /// The one for a class that allows private endpoints, or doesn't.
    pub fn of(&self, private_endpoints: bool) -> &Fetcher {
        if private_endpoints { &self.private } else { &self.public }
    }
}

fn client(reach: Reach) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
        .https_only(true)
        .http1_only()
        .no_proxy() // a proxy would resolve the name itself, after our check
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(0) // the next fetch is an hour away, and to be resolved anew
        .dns_resolver(CheckedResolver(reach))
}

/// Whether this URL may be requested, as far as can be seen from the URL itself. Addresses written
/// as such are checked here, since a resolver never sees them; `Url` has already made `127.0.0.1`
/// of `0x7f.1` and `2130706433`.
fn admit(url: &Url, reach: Reach) -> Result<(), FetchError> {
    if url.scheme() != "https" {
        return Err(FetchError::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::InvalidUrl);
    }
    let address = match url.host() {
        Some(Host::Domain(name)) => {
            // what TLS has no name for would only fail later, as if the host didn't answer
            return ServerName::try_from(name).map(drop).map_err(|_| FetchError::InvalidUrl);
        }
        Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
        Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
        None => return Err(FetchError::InvalidUrl),
    };
    if reach.allows(address) { Ok(()) } else { Err(FetchError::ForbiddenAddress) }
}

/// Where a response sends us; `None` if it is the last one (RFC 9110, section 15.4).
fn redirect(url: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    url.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

async fn body(response: Response) -> Result<Vec<u8>, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    whole(response).await
}

async fn whole(mut response: Response) -> Result<Vec<u8>, FetchError> {
    if response.content_length().is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(FetchError::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| coarse(&e))? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The system's resolver, whose answers are checked before anybody connects: the addresses it
/// gives are those connected to, so a name that changes in between gains nothing.
struct CheckedResolver(Reach);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(checked(reach, found)?.into_iter()) as Addrs)
        })
    }
}

/// All of a name's addresses, or none: a public name has no business inside, so one forbidden
/// address means DNS rebinding or a name that means something else in here.
fn checked(reach: Reach, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if found.is_empty() || !found.iter().all(|address| reach.allows(address.ip())) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}

fn coarse(error: &reqwest::Error) -> FetchError {
    if error.is_dns() {
        return FetchError::Unresolvable;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return FetchError::Tls;
        }
        // an io::Error's `source` skips the very error it wraps
        cause = match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    if error.is_timeout() { FetchError::Timeout } else { FetchError::Unreachable }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Public,
    Inside,
    Never,
}

impl Reach {
    /// Whether what is there may be reached.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        let place = match address {
            IpAddr::V4(v4) => place_v4(v4),
            IpAddr::V6(v6) => place_v6(v6),
        };
        match place {
            Place::Public => true,
            Place::Inside => self == Self::PrivateAllowed,
            Place::Never => false,
        }
    }
}

/// By the IANA registry of special-purpose IPv4 addresses (RFC 6890).
fn place_v4(address: Ipv4Addr) -> Place {
    match address.octets() {
        [0, ..] // "this network"; Linux takes it for loopback
        | [169, 254, ..] // link-local, the metadata services of most clouds
        | [168, 63, 129, 16] | [100, 100, 100, 200] // those of Azure and Alibaba
        | [224..=239, ..] // multicast
        | [255, 255, 255, 255] => Place::Never,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] // private
        | [100, 64..=127, ..] // shared, behind carriers' NAT
        | [127, ..] // loopback
        | [192, 0, 0, _] | [192, 88, 99, _] // protocol assignments, 6to4 relays
        | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] // documentation
        | [198, 18..=19, ..] // benchmarking
        | [240..=255, ..] => Place::Inside, // reserved
        _ => Place::Public,
    }
}

/// Public is only what is inside 2000::/3, the one block that IANA gives out (RFC 4291), and
/// there not the special-purpose ones. Forms that carry an IPv4 address go by that address where
/// they are in use, and are refused where they aren't any more, or where it can't be told.
fn place_v6(address: Ipv6Addr) -> Place {
    let v4 =
        |high: u16, low: u16| place_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] // IPv4-mapped
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low), // NAT64 (RFC 6052)
        [0, 0, 0, 0, 0, 0, 0, 1] => Place::Inside, // loopback
        [0, 0, 0, 0, ..] // unspecified, IPv4-compatible, IPv4-translated
        | [0x64, 0xff9b, ..] // a network's own NAT64 (RFC 8215)
        | [0x2001, 0, ..] | [0x2002, ..] // Teredo, 6to4
        | [0xfe80..=0xfebf, ..] // link-local
        | [0xff00..=0xffff, ..] // multicast
        | [0xfd00, 0x0ec2, ..] | [0xfd00, 0x00c1, ..] // metadata services: AWS, Oracle,
        | [0xfd20, 0x00ce, ..] => Place::Never, // and Google
        [0x2001, 0..=0x01ff, ..] // protocol assignments: benchmarking, ORCHID, ..
        | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Place::Inside, // documentation
        [0x2000..=0x3fff, ..] => Place::Public,
        _ => Place::Inside, // ULA, site-local, discard, what isn't given out
    }
}

#[cfg(test)]
pub(crate) mod tests;
