//! A company's SAML 2.0 identity provider over HTTPS: its metadata, with certificates that can be
//! rolled over and a server that can misbehave, and signing in.

mod sign_on;

pub use sign_on::{Answer, SignOn};

use std::{
    fmt::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Response, StatusCode, header},
    routing::get,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{StreamExt, stream};
use tempfile::TempDir;

use super::{Person, ServiceProvider, authn_request::Trusted, response::Response as SamlResponse};
use crate::{
    background::background,
    tls::{Authority, Identity},
};

/// As with most identity providers.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(3 * 365 * 86_400);
const METADATA_TYPE: &str = "application/samlmetadata+xml";
const CHUNK: &[u8] = &[b' '; 8192];

/// What the server does when it is asked for `/metadata`.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    /// Serves its metadata.
    #[default]
    Normal,
    /// Serves this as its metadata.
    Body(Vec<u8>),
    /// Answers with this HTTP status and no body.
    Status(u16),
    /// Serves a body that never ends, as fast as it is read.
    Endless,
    /// Serves a body of this many bytes, without saying so first.
    Huge(usize),
    /// Takes the request and never answers.
    Silent,
    /// Redirects (302) to this URL.
    RedirectTo(String),
}

/// A running identity provider, ended when dropped.
pub struct SamlIdp {
    state: Arc<Mutex<Idp>>,
    requests: Arc<AtomicU64>,
    handle: Handle<SocketAddr>,
    folder: TempDir,
    base_url: String,
}

struct Idp {
    base_url: String,
    certificates: Vec<Arc<Identity>>,
    attributes: String,
    behaviour: Behaviour,
    sign_on: SignOn,
}

type Shared = (Arc<Mutex<Idp>>, Arc<AtomicU64>);

impl SamlIdp {
    /// Starts one at `https://localhost:<port>`, with a TLS certificate of `authority`.
    ///
    /// # Errors
    /// If no port can be had or no certificate made.
    pub fn start(authority: &Authority) -> anyhow::Result<Self> {
        let folder = TempDir::new().context("making a folder for the CA")?;
        authority.write_ca(&folder.path().join("ca.crt"))?;
        let tls = authority.issue(&["localhost"], &[[127, 0, 0, 1].into()])?.server_config()?;
        let listener = TcpListener::bind("127.0.0.1:0").context("binding a port")?;
        listener.set_nonblocking(true).context("setting up the port")?;
        let base_url = format!("https://localhost:{}", listener.local_addr()?.port());

        let state = Arc::new(Mutex::new(Idp {
            base_url: base_url.clone(),
            certificates: vec![new_certificate(SystemTime::now() + CERTIFICATE_LIFETIME)?],
            attributes: String::new(),
            behaviour: Behaviour::Normal,
            sign_on: SignOn::default(),
        }));
        let requests = Arc::new(AtomicU64::new(0));
        let app = Router::new()
            .route("/metadata", get(metadata))
            .route("/sso", get(sign_on::page))
            .with_state((Arc::clone(&state), Arc::clone(&requests)));
        let handle = Handle::new();
        let _runtime = background().enter();
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(tls))
            .context("serving")?
            .handle(handle.clone());
        background().spawn(server.serve(app.into_make_service()));
        Ok(Self { state, requests, handle, folder, base_url })
    }

    /// Where its metadata is.
    pub fn metadata_url(&self) -> String {
        format!("{}/metadata", self.base_url)
    }

    /// Its entity id.
    pub fn entity_id(&self) -> String {
        entity_id(&self.base_url)
    }

    /// Where people are sent to sign in, by redirect.
    pub fn sign_on_url(&self) -> String {
        sign_on_url(&self.base_url)
    }

    /// The file with the authority of its TLS certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A folder that lasts as long as the provider.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it does from now on when it is asked for its metadata.
    pub fn set(&self, behaviour: Behaviour) {
        self.idp().behaviour = behaviour;
    }

    /// How often it has been asked for its metadata.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Its metadata as it would serve it now.
    pub fn metadata(&self) -> String {
        self.idp().metadata()
    }

    /// Gives the `EntityDescriptor` more attributes, such as `validUntil="2026-01-01T00:00:00Z"`
    /// or `cacheDuration="PT1H"`, instead of those it was given before.
    pub fn set_attributes(&self, attributes: &str) {
        attributes.clone_into(&mut self.idp().attributes);
    }

    /// The certificates in its metadata, in their order there.
    pub fn certificates(&self) -> Vec<Arc<Identity>> {
        self.idp().certificates.clone()
    }

    /// Puts these certificates in its metadata: several while they are rolled over, or none.
    pub fn set_certificates(&self, certificates: Vec<Arc<Identity>>) {
        self.idp().certificates = certificates;
    }

    /// Puts a new certificate in place of those there are, and returns it.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn rotate_certificate(&self) -> anyhow::Result<Arc<Identity>> {
        let certificate = new_certificate(SystemTime::now() + CERTIFICATE_LIFETIME)?;
        self.set_certificates(vec![Arc::clone(&certificate)]);
        Ok(certificate)
    }

    /// Who is signed in here from now on: whoever comes is taken for them.
    pub fn sign_in_as(&self, person: Option<Person>) {
        self.idp().sign_on.person = person;
    }

    /// Answers this service provider from now on, and none that it wasn't told of. Until the first
    /// is named it answers any at an https URL or on this machine.
    pub fn trust(&self, sp: Trusted) {
        self.idp().sign_on.trusted.push(sp);
    }

    /// Changes how it answers from now on.
    pub fn configure(&self, change: impl FnOnce(&mut SignOn)) {
        change(&mut self.idp().sign_on);
    }

    /// What it has the browser post for the request at `url`, with `person` signed in.
    ///
    /// # Errors
    /// If it wouldn't answer.
    pub fn respond(&self, url: &str, person: &Person) -> anyhow::Result<Answer> {
        self.respond_with(url, person, |_| {})
    }

    /// The same, with the response changed before it is signed.
    ///
    /// # Errors
    /// If it wouldn't answer.
    pub fn respond_with(
        &self,
        url: &str,
        person: &Person,
        change: impl FnOnce(&mut SamlResponse),
    ) -> anyhow::Result<Answer> {
        self.idp().answer(url, person, change)
    }

    /// A response that nobody asked for.
    ///
    /// # Errors
    /// If it can't sign.
    pub fn unsolicited(&self, sp: &ServiceProvider, person: &Person) -> anyhow::Result<Answer> {
        let idp = self.idp();
        let response = SamlResponse::new(&entity_id(&idp.base_url), sp, person, idp.now());
        idp.sealed(&response, &sp.acs, None, None)
    }

    fn idp(&self) -> MutexGuard<'_, Idp> {
        lock(&self.state)
    }
}

impl Drop for SamlIdp {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// A certificate to sign assertions with, valid until `not_after`, which may be past.
///
/// # Errors
/// If no key can be made.
pub fn new_certificate(not_after: SystemTime) -> anyhow::Result<Arc<Identity>> {
    Identity::self_signed_rsa("company identity provider", not_after).map(Arc::new)
}

impl Idp {
    fn metadata(&self) -> String {
        metadata_of(
            &entity_id(&self.base_url),
            &sign_on_url(&self.base_url),
            self.certificates.iter().map(|certificate| certificate.cert_der()),
            &self.attributes,
        )
    }
}

/// Metadata of an identity provider that signs with these certificates, DER.
pub fn metadata_of<'a>(
    entity_id: &str,
    sign_on_url: &str,
    certificates: impl IntoIterator<Item = &'a [u8]>,
    attributes: &str,
) -> String {
    let mut keys = String::new();
    for der in certificates {
        let der = BASE64_STANDARD.encode(der);
        // Writing to a String can't fail.
        let _ = write!(
            keys,
            r#"
    <md:KeyDescriptor use="signing">
      <ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
        <ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data>
      </ds:KeyInfo>
    </md:KeyDescriptor>"#
        );
    }
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity_id}" {attributes}>
  <md:IDPSSODescriptor WantAuthnRequestsSigned="false" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{keys}
    <md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{sign_on_url}"/>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{sign_on_url}"/>
  </md:IDPSSODescriptor>
</md:EntityDescriptor>
"#
    )
}

fn entity_id(base_url: &str) -> String {
    format!("{base_url}/entity")
}

fn sign_on_url(base_url: &str) -> String {
    format!("{base_url}/sso")
}

fn lock(idp: &Mutex<Idp>) -> MutexGuard<'_, Idp> {
    idp.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn metadata(State((idp, requests)): State<Shared>) -> Response<Body> {
    requests.fetch_add(1, Ordering::Relaxed);
    let (behaviour, metadata) = {
        let idp = lock(&idp);
        (idp.behaviour.clone(), idp.metadata())
    };
    let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(CHUNK));
    let mut response = Response::new(match behaviour {
        Behaviour::Normal => Body::from(metadata),
        Behaviour::Body(ref body) => Body::from(body.clone()),
        Behaviour::Status(_) | Behaviour::RedirectTo(_) => Body::empty(),
        Behaviour::Endless => Body::from_stream(stream::repeat_with(chunk)),
        Behaviour::Huge(bytes) => {
            let rest = Ok(Bytes::from_static(&CHUNK[..bytes % CHUNK.len()]));
            let chunks = stream::repeat_with(chunk).take(bytes / CHUNK.len());
            Body::from_stream(chunks.chain(stream::iter([rest])))
        }
        Behaviour::Silent => std::future::pending().await,
    });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(METADATA_TYPE));
    match behaviour {
        Behaviour::Status(code) => {
            *response.status_mut() =
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Behaviour::RedirectTo(url) => {
            *response.status_mut() = StatusCode::FOUND;
            if let Ok(url) = url.try_into() {
                response.headers_mut().insert(header::LOCATION, url);
            }
        }
        _ => {}
    }
    response
}
