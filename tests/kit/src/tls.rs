//! Certificates: an authority of the tests' own, and what it signs.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, SanType,
    SignatureAlgorithm, date_time_ymd,
};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer};

/// Makes aws-lc-rs the process's TLS provider. Every test that makes a client calls it first, as
/// `main` does; calling it again does nothing.
pub fn install_crypto() {
    // An error says that one is installed already, which is what is wanted.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// A certificate and its private key.
#[derive(Debug)]
pub struct Identity {
    cert: rcgen::Certificate,
    key: KeyPair,
}

/// The files of an [`Identity`].
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// The private key, PKCS#8 PEM.
    pub key: PathBuf,
}

impl Identity {
    /// The certificate, PEM.
    pub fn cert_pem(&self) -> String {
        self.cert.pem()
    }

    /// The private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The certificate, DER.
    pub fn cert_der(&self) -> &[u8] {
        self.cert.der()
    }

    /// The private key, PKCS#8 DER.
    pub fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// A certificate that nobody vouches for, as identity providers sign assertions with: RSA of
    /// 2048 bits, valid until `not_after`, which may be past.
    ///
    /// # Errors
    /// If `not_after` is before 1970.
    pub fn self_signed_rsa(common_name: &str, not_after: SystemTime) -> anyhow::Result<Self> {
        Self::self_signed(common_name, not_after, &PKCS_RSA_SHA256)
    }

    /// The same for a key of another kind.
    ///
    /// # Errors
    /// If `not_after` is before 1970.
    pub fn self_signed(
        common_name: &str,
        not_after: SystemTime,
        algorithm: &'static SignatureAlgorithm,
    ) -> anyhow::Result<Self> {
        let since_1970 = not_after.duration_since(UNIX_EPOCH).context("the end is before 1970")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(common_name, None);
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970;
        let key = KeyPair::generate_for(algorithm).context("making a key")?;
        let cert = params.self_signed(&key).context("signing a certificate")?;
        Ok(Self { cert, key })
    }

    /// Writes `<folder>/<name>.crt` and `<folder>/<name>.key`.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<IdentityFiles> {
        let cert = folder.join(format!("{name}.crt"));
        let key = folder.join(format!("{name}.key"));
        write_file(&cert, &self.cert_pem())?;
        write_file(&key, &self.key_pem())?;
        Ok(IdentityFiles { cert, key })
    }

    /// A server's TLS settings with this identity: HTTP/1.1, no client certificates.
    ///
    /// # Errors
    /// If rustls refuses the key.
    pub fn server_config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .context("choosing TLS versions")?
            .with_no_client_auth()
            .with_single_cert(
                vec![self.cert.der().clone()],
                PrivatePkcs8KeyDer::from(self.key.serialize_der()).into(),
            )
            .context("using the server's certificate")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// A certificate authority of its own.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name("rollcall-kit authority", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("making the authority's key")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("signing the authority")?;
        Ok(Self { issuer })
    }

    /// The authority's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes the authority's certificate to `path`.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write_ca(&self, path: &Path) -> anyhow::Result<()> {
        write_file(path, &self.ca_pem())
    }

    /// A server's certificate for these names and addresses.
    ///
    /// # Errors
    /// If a name is no DNS name.
    pub fn issue(&self, dns_names: &[&str], ips: &[IpAddr]) -> anyhow::Result<Identity> {
        let mut params = CertificateParams::default();
        let first = dns_names.first().map(ToString::to_string);
        let common_name = first.or_else(|| ips.first().map(ToString::to_string));
        params.distinguished_name = distinguished_name(&common_name.unwrap_or_default(), None);
        for name in dns_names {
            let name = name.to_string().try_into().with_context(|| format!("{name:?}"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(ips.iter().copied().map(SanType::IpAddress));
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate. Kubernetes takes `common_name` for the user and `organization` for
    /// the group.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn issue_client(
        &self,
        common_name: &str,
        organization: Option<&str>,
    ) -> anyhow::Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(common_name, organization);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> anyhow::Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("making a key")?;
        let cert = params.signed_by(&key, &self.issuer).context("signing a certificate")?;
        Ok(Identity { cert, key })
    }
}

pub(crate) fn distinguished_name(
    common_name: &str,
    organization: Option<&str>,
) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

pub(crate) fn write_file(path: &Path, content: &str) -> anyhow::Result<()> {
    std::fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}
