use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

fn places(list: &[&str], place: Place) {
    for text in list {
        let got = match text.parse().unwrap() {
            IpAddr::V4(v4) => place_v4(v4),
            IpAddr::V6(v6) => place_v6(v6),
        };
        assert_eq!(got, place, "{text}");
    }
}

#[test]
fn public_addresses_are_public() {
    places(
        &[
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.0",
            "203.0.114.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffe::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ],
        Place::Public,
    );
}

#[test]
fn addresses_inside_need_the_class_to_allow_them() {
    places(
        &[
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "240.0.0.0",
            "255.255.255.254",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "100::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1",
        ],
        Place::Inside,
    );
}

#[test]
fn link_local_metadata_services_and_what_hides_them_are_never_allowed() {
    places(
        &[
            "0.0.0.0",
            "0.1.2.3",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::2",
            "::10.0.0.1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:0:169.254.169.254",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2001::1",
            "2001:0:a9fe:a9fe::1",
            "2002:a9fe:a9fe::1",
            "2002:808:808::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
        ],
        Place::Never,
    );
}

#[test]
fn a_url_is_judged_before_anything_is_looked_up() {
    use FetchError::{ForbiddenAddress, InvalidUrl, NotHttps};
    for (url, public_only, private_allowed) in [
        ("https://idp.acme.com/metadata", Ok(()), Ok(())),
        ("https://idp.acme.com:8443/metadata?x=y", Ok(()), Ok(())),
        ("HTTPS://IDP.ACME.COM", Ok(()), Ok(())),
        ("https://8.8.8.8/", Ok(()), Ok(())),
        ("https://10.0.0.1/", Err(ForbiddenAddress), Ok(())),
        ("https://127.0.0.1./", Err(ForbiddenAddress), Ok(())),
        ("https://2130706433/", Err(ForbiddenAddress), Ok(())),
        ("https://0x7f.1/", Err(ForbiddenAddress), Ok(())),
        ("https://0177.0.0.1/", Err(ForbiddenAddress), Ok(())),
        ("https://%31%32%37.0.0.1/", Err(ForbiddenAddress), Ok(())),
        ("https://１２７.0.0.1/", Err(ForbiddenAddress), Ok(())),
        ("https://[::1]/", Err(ForbiddenAddress), Ok(())),
        ("https://[::ffff:10.0.0.1]/", Err(ForbiddenAddress), Ok(())),
        ("https://169.254.169.254/", Err(ForbiddenAddress), Err(ForbiddenAddress)),
        ("https://[::ffff:a9fe:a9fe]/", Err(ForbiddenAddress), Err(ForbiddenAddress)),
        ("https://[fe80::1]/", Err(ForbiddenAddress), Err(ForbiddenAddress)),
        ("https://0/", Err(ForbiddenAddress), Err(ForbiddenAddress)),
        ("https://8.8.8.8\\@10.0.0.1/", Ok(()), Ok(())), // host 8.8.8.8, and so requested
        ("https://idp..com/", Err(InvalidUrl), Err(InvalidUrl)),
        ("https://u@idp.acme.com/", Err(InvalidUrl), Err(InvalidUrl)),
        ("https://u:p@idp.acme.com/", Err(InvalidUrl), Err(InvalidUrl)),
        ("https://:p@idp.acme.com/", Err(InvalidUrl), Err(InvalidUrl)),
        ("http://idp.acme.com/", Err(NotHttps), Err(NotHttps)),
        ("ftp://idp.acme.com/", Err(NotHttps), Err(NotHttps)),
        ("file:///etc/passwd", Err(NotHttps), Err(NotHttps)),
        ("data:text/xml,x", Err(NotHttps), Err(NotHttps)),
    ] {
        let parsed = Url::parse(url).unwrap();
        assert_eq!(admit(&parsed, Reach::PublicOnly), public_only, "{url}");
        assert_eq!(admit(&parsed, Reach::PrivateAllowed), private_allowed, "{url}");
    }
}

#[test]
fn one_forbidden_address_spoils_a_whole_answer() {
    let answer = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<_>>();
    let public = answer(&["8.8.8.8:0", "[2606:4700::1111]:0"]);
    let mixed = answer(&["8.8.8.8:0", "10.0.0.1:0"]);
    let metadata = answer(&["10.0.0.1:0", "169.254.169.254:0"]);
    assert_eq!(checked(Reach::PublicOnly, public.clone()).unwrap(), public);
    assert!(checked(Reach::PublicOnly, mixed.clone()).is_err());
    assert!(checked(Reach::PrivateAllowed, mixed).is_ok());
    assert!(checked(Reach::PrivateAllowed, metadata).is_err());
    assert!(checked(Reach::PrivateAllowed, vec![]).is_err());
}

#[tokio::test]
async fn public_only_never_connects_inside() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let fetcher = Fetcher::new(Reach::PublicOnly).unwrap();
    for (host, error) in [
        ("127.0.0.1", FetchError::ForbiddenAddress),
        ("2130706433", FetchError::ForbiddenAddress),
        ("[::ffff:127.0.0.1]", FetchError::ForbiddenAddress),
        ("0", FetchError::ForbiddenAddress),
        // as if there were no such name
        ("localhost", FetchError::Unresolvable),
    ] {
        assert_eq!(fetcher.get(&format!("https://{host}:{port}/")).await, Err(error), "{host}");
    }
    assert_eq!(fetcher.get("no URL").await, Err(FetchError::InvalidUrl));
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_document_is_fetched_and_redirects_are_followed() {
    let (fetcher, url) = (trusting(WHOLE), serve());
    assert_eq!(fetcher.get(&format!("{url}/hello")).await.unwrap(), b"hello");
    assert_eq!(fetcher.get(&format!("{url}/redirect/3")).await.unwrap(), b"hello");
    let by_name = url.replace("127.0.0.1", "localhost");
    assert_eq!(fetcher.get(&format!("{by_name}/hello")).await.unwrap(), b"hello");
    assert_eq!(fetcher.get(&format!("{url}/exactly")).await.unwrap().len(), MAX_BYTES);
    let agent = fetcher.get(&format!("{url}/agent")).await.unwrap();
    assert!(String::from_utf8(agent).unwrap().contains("user-agent: rollcall/"));
}

#[tokio::test]
async fn what_is_no_document_fails_with_a_coarse_error() {
    let (fetcher, url) = (trusting(Duration::from_secs(1)), serve());
    for (path, error) in [
        ("/redirect/4", FetchError::TooManyRedirects),
        ("/to?http://127.0.0.1/", FetchError::NotHttps),
        ("/to?https://169.254.169.254/", FetchError::ForbiddenAddress),
        ("/to?//0xa9.0xfe.0xa9.0xfe/", FetchError::ForbiddenAddress),
        ("/to?https://u:p@127.0.0.1/", FetchError::InvalidUrl),
        ("/to?https://%zz/", FetchError::Status(302)),
        ("/missing", FetchError::Status(404)),
        ("/announced", FetchError::TooLarge),
        ("/endless", FetchError::TooLarge),
        ("/silent", FetchError::Timeout),
        ("/stalling", FetchError::Timeout),
        ("/no-http", FetchError::Unreachable),
    ] {
        assert_eq!(fetcher.get(&format!("{url}{path}")).await, Err(error), "{path}");
    }
    // nothing listens there any more
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = fetcher.get(&format!("https://127.0.0.1:{free}/")).await;
    assert_eq!(closed, Err(FetchError::Unreachable));
    let untrusting = Fetcher::new(Reach::PrivateAllowed).unwrap();
    assert_eq!(untrusting.get(&format!("{url}/hello")).await, Err(FetchError::Tls));
}

#[tokio::test]
async fn a_form_goes_where_it_is_sent_and_nowhere_else() {
    let (fetcher, url) = (trusting(Duration::from_secs(1)), serve());
    let secret = HeaderValue::from_static("Basic czNjcmV0");
    let form = [("code", "a&b=c"), ("state", "ä")];
    let post = |path: &str| {
        let url = format!("{url}{path}");
        let (fetcher, secret) = (&fetcher, secret.clone());
        async move { fetcher.post_form(&url, &form, Some(secret)).await }
    };
    let said = post("/form").await.unwrap();
    let body = String::from_utf8(said.body).unwrap();
    assert_eq!(said.status, 200);
    assert!(body.starts_with("post /form http/1.1\r\n"), "{body}");
    assert!(body.contains("content-type: application/x-www-form-urlencoded\r\n"), "{body}");
    assert!(body.contains("authorization: basic cznjcmv0\r\n"), "{body}");
    assert!(body.ends_with("\r\n\r\ncode=a%26b%3dc&state=%c3%a4"), "{body}");
    assert_eq!(post("/redirect/1").await.unwrap().status, 302);
    assert_eq!(post("/missing").await.unwrap().status, 404);
    for (path, error) in [
        ("/announced", FetchError::TooLarge),
        ("/endless", FetchError::TooLarge),
        ("/silent", FetchError::Timeout),
        ("/stalling", FetchError::Timeout),
    ] {
        assert_eq!(post(path).await.unwrap_err(), error, "{path}");
    }
    let public = Fetcher::new(Reach::PublicOnly).unwrap();
    for (url, error) in [
        (url.as_str(), FetchError::ForbiddenAddress),
        (&url.replace("127.0.0.1", "localhost"), FetchError::Unresolvable),
        (&url.replace("https", "http"), FetchError::NotHttps),
    ] {
        assert_eq!(public.post_form(url, &form, None).await.unwrap_err(), error, "{url}");
        assert_eq!(public.get_authorized(url, secret.clone()).await.unwrap_err(), error, "{url}");
    }
    let said = fetcher.get_authorized(&format!("{url}/agent"), secret).await.unwrap();
    let said = String::from_utf8(said.body).unwrap();
    assert!(said.contains("authorization: basic") && said.contains("accept: application/json"));
}

/// Runs this test again in a process of its own, since another's environment can't be set safely.
#[tokio::test]
async fn ssl_cert_file_makes_a_private_ca_trusted() {
    const CHILD: &str = "ROLLCALL_TEST_FETCH";
    if let Ok(url) = std::env::var(CHILD) {
        let fetcher = Fetcher::new(Reach::PrivateAllowed).unwrap();
        assert_eq!(fetcher.get(&url).await.unwrap(), b"hello");
        return;
    }
    let mut bundle = tempfile::NamedTempFile::new().unwrap();
    bundle.write_all(CA.as_bytes()).unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fetch::tests::ssl_cert_file_makes_a_private_ca_trusted"])
        .env("SSL_CERT_FILE", bundle.path())
        .env(CHILD, format!("{}/hello", serve()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

fn trusting(deadline: Duration) -> Fetcher {
    fetcher(Reach::PrivateAllowed, CA, deadline)
}

fn fetcher(reach: Reach, ca: &str, deadline: Duration) -> Fetcher {
    let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
    Fetcher { client: client(reach).tls_certs_merge([ca]).build().unwrap(), reach, deadline }
}

/// Fetchers that trust this CA, too, and wait no longer than this.
pub(crate) fn fetchers(ca: &str, deadline: Duration) -> Fetchers {
    Fetchers {
        public: fetcher(Reach::PublicOnly, ca, deadline),
        private: fetcher(Reach::PrivateAllowed, ca, deadline),
    }
}

/// An HTTPS server for the paths above, as long as the tests run; gives its URL.
fn serve() -> String {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let tls = ServerConnection::new(config.clone()).unwrap();
            // the client may hang up at any time, which is what some of the tests are about
            let _ = answer(StreamOwned::new(tls, tcp.unwrap()));
        }
    });
    format!("https://127.0.0.1:{port}")
}

fn answer(mut client: impl Read + Write) -> io::Result<()> {
    let mut request = String::new();
    let mut byte = [0];
    while !request.ends_with("\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0].into());
    }
    let target = request.split(' ').nth(1).unwrap_or_default();
    let found = |location: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
    };
    let ok =
        |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let wait = |client: &mut dyn Read| client.read_to_end(&mut Vec::new()).map(drop);
    let reply = match target.split_once('?').unwrap_or((target, "")) {
        ("/hello" | "/redirect/0", _) => ok("hello"),
        ("/agent", _) => ok(&request.to_lowercase()),
        ("/form", _) => {
            let request = request.to_lowercase();
            let length = request.split_once("content-length: ").unwrap().1;
            let mut form = vec![0; length.split_once('\r').unwrap().0.parse().unwrap()];
            client.read_exact(&mut form)?;
            ok(&(request + &String::from_utf8_lossy(&form).to_lowercase()))
        }
        ("/exactly", _) => ok(&"x".repeat(MAX_BYTES)),
        ("/to", location) => found(location),
        ("/missing", _) => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
        ("/announced", _) => {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX_BYTES + 1)
        }
        ("/silent", _) => return wait(&mut client),
        ("/stalling", _) => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")?;
            return wait(&mut client);
        }
        ("/endless", _) => {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                client.write_all(&[b'x'; 4096])?;
            }
        }
        ("/no-http", _) => "SSH-2.0-OpenSSH\r\n".into(),
        (path, _) => {
            let left = path.trim_start_matches("/redirect/").parse::<u32>().unwrap_or(1) - 1;
            found(&format!("/redirect/{left}"))
        }
    };
    client.write_all(reply.as_bytes())?;
    client.flush()
}

// A certificate authority and its certificate for localhost and 127.0.0.1, good until 2120; the
// key guards nothing.
const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBTTCB9KADAgECAgIQBDAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0y
MDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowDTELMAkGA1UEAwwCY2EwWTAT
BgcqhkjOPQIBBggqhkjOPQMBBwNCAAQgsCQWzCZm2RYKbDJ2irXUW5VMF6W6GDSV
kB8MypwrPX9Sn3mVjAaNxWdIAhd3R5f64OX/ZoJPnKvtCfdoVHxIo0IwQDAPBgNV
HRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwICBDAdBgNVHQ4EFgQUu+4hkUkp+AZa
/NEy5fDJ8d65mpkwCgYIKoZIzj0EAwIDSAAwRQIgW0OOPNfbo+bcFW8x7cNe9VGu
2RxEy+fwgkHsp/Al3D8CIQD1TIUz8e/+hPD9ClJ6Fnitb/hg8/XK3oM/JBHeVI/6
3A==
-----END CERTIFICATE-----
";
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgICEAUwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwIBcN
MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2Fs
aG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD6WmuLCLOQgNZZLsOmZDqoD
rMi4o+0o6UrQyG2m/ARHwaLb9I9uqUDUeYlOPYau41LKoBRaOPHQhn6nEEXj+7ej
gYEwfzAMBgNVHRMBAf8EAjAAMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAT
BgNVHSUEDDAKBggrBgEFBQcDATAdBgNVHQ4EFgQUkKoK1/boSoHpFaN+Cz8k7MX2
UX8wHwYDVR0jBBgwFoAUu+4hkUkp+AZa/NEy5fDJ8d65mpkwCgYIKoZIzj0EAwID
SAAwRQIhAMfWrcOoGfjiB8s061Wb3ykcx1ANFISospGZlyuV5LP2AiAISW78xW9K
N1FeKp1ulceBJl9Q+15eiubtOZDanKM/3w==
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQga1KZ/U6FkVTTPwXY
uArHrPo8F7ONhRDfBdK0nsC24u2hRANCAAQ+lpriwizkIDWWS7DpmQ6qA6zIuKPt
KOlK0MhtpvwER8Gi2/SPbqlA1HmJTj2GruNSyqAUWjjx0IZ+pxBF4/u3
-----END PRIVATE KEY-----
";
