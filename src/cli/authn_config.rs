//! `rollcall authn-config`: what makes an API server trust the gateway's tokens, and no more of them
//! than it should.

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::ValueEnum;
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// The version of the AuthenticationConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiVersion {
    /// From Kubernetes 1.34 on.
    V1,
    /// From Kubernetes 1.30 on.
    V1beta1,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the CA file is not PEM: {0}")]
    NotPem(rustls::pki_types::pem::Error),
    #[error("the CA file has no certificate in it")]
    NoCertificate,
}

/// The configuration, as YAML, for tokens of `issuer` that were issued to `client`.
///
/// # Errors
/// `ca` is a file without certificates. Whatever else is in it, such as a key, is left out.
pub fn authn_config(
    version: ApiVersion,
    issuer: &str,
    client: &str,
    ca: Option<&[u8]>,
) -> Result<String, Error> {
    let version = match version {
        ApiVersion::V1 => "v1",
        ApiVersion::V1beta1 => "v1beta1",
    };
    let ca = ca.map(certificates).transpose()?.unwrap_or_default();
    // what stands in YAML and CEL between quotes; neither an issuer nor a client needs any
    let (issuer, client) = (quoted(issuer), quoted(client));
    Ok(format!(
        r#"# The API server's --authentication-config. It is read again when it changes.
apiVersion: apiserver.config.k8s.io/{version}
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: {issuer}
    audiences: [{client}]
    audienceMatchPolicy: MatchAny
{ca}  claimMappings:
    # <organization>:<e-mail>, and <organization>:<team>
    username: {{expression: '"rollcall:" + claims.username'}}
    groups: {{expression: 'has(claims.groups) ? dyn(claims.groups).map(g, "rollcall:" + g) : []'}}
    uid: {{claim: sub}}
  claimValidationRules:
  - expression: 'claims.aud == {client} || claims.aud == [{client}]'
    message: the token is for another client too
  - expression: '!claims.username.startsWith("system:")'
    message: the username begins with system:, which is Kubernetes' own
  - expression: '!has(claims.groups) || dyn(claims.groups).all(g, !g.startsWith("system:"))'
    message: a group begins with system:, which is Kubernetes' own
  - expression: '!has(claims.email_verified) || claims.email_verified == true'
    message: the e-mail address is not verified
  userValidationRules:
  # for whoever changes the mappings
  - expression: '!user.username.startsWith("system:")'
    message: the user's name begins with system:, which is Kubernetes' own
  - expression: 'user.groups.all(g, !g.startsWith("system:"))'
    message: a group of the user begins with system:, which is Kubernetes' own
"#
    ))
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "\\u0027");
    format!("\"{escaped}\"")
}

/// The field, with the certificates alone.
fn certificates(pem: &[u8]) -> Result<String, Error> {
    let mut field = String::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = BASE64_STANDARD.encode(certificate.map_err(Error::NotPem)?);
        field.push_str("      -----BEGIN CERTIFICATE-----\n");
        for line in certificate.as_bytes().chunks(64) {
            let line = line.iter().copied().map(char::from);
            field.extend("      ".chars().chain(line).chain(['\n']));
        }
        field.push_str("      -----END CERTIFICATE-----\n");
    }
    if field.is_empty() {
        return Err(Error::NoCertificate);
    }
    Ok(format!("    certificateAuthority: |\n{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_kit::tls::Authority;
    use serde_json::Value;

    fn parsed(client: &str, ca: Option<&[u8]>) -> Value {
        let yaml = authn_config(ApiVersion::V1, "https://login.example", client, ca).unwrap();
        serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
    }

    #[test]
    fn the_ca_is_inline_and_nothing_else_of_its_file() {
        let authority = Authority::new().unwrap();
        let key = authority.issue(&["login.example"], &[]).unwrap().key_pem();
        let bundle = format!("{}{key}{}", authority.ca_pem(), Authority::new().unwrap().ca_pem());
        let config = parsed("kubernetes", Some(bundle.as_bytes()));
        let ca = config["jwt"][0]["issuer"]["certificateAuthority"].as_str().unwrap();
        assert_eq!(ca.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(!ca.contains("PRIVATE"));
        let same = |pem: &str| pem.split_whitespace().collect::<String>();
        assert!(same(ca).starts_with(&same(&authority.ca_pem())));
        let none = parsed("kubernetes", None);
        assert!(none["jwt"][0]["issuer"].get("certificateAuthority").is_none());
        assert!(authn_config(ApiVersion::V1, "", "", Some(key.as_bytes())).is_err());
    }

    #[test]
    fn a_client_with_quotes_in_it_stays_one_string() {
        let config = parsed("it's \"it\"\\", None);
        assert_eq!(config["jwt"][0]["issuer"]["audiences"][0], "it's \"it\"\\");
        let rule = &config["jwt"][0]["claimValidationRules"][0]["expression"];
        let literal = r#""it\u0027s \"it\"\\""#;
        assert_eq!(rule, &format!("claims.aud == {literal} || claims.aud == [{literal}]"));
    }
}
