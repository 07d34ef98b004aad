//! Where an SsoConnection's metadata comes from (SAML metadata, an OIDC discovery document), and
//! keeping the last good one.

use std::{fmt::Write as _, time::Duration};

use aws_lc_rs::digest;
use jiff::Timestamp;
use kube::ResourceExt;

use super::{Context, Result, namespace, secrets, tenancy::Organization};
use crate::{
    api::{
        SamlSpec, SsoConnection,
        conditions::{Verdict, reason},
        meta,
    },
    fetch::{FetchError, Fetcher},
    ledger::Connection,
    oidc::discovery::{self, DiscoveryError},
    saml::metadata::{self, MetadataError, SigningCertificate},
};

/// When metadata that says nothing of it is fetched again, and the bounds for what it says.
const REFRESH: Duration = Duration::from_secs(3600);
const SOONEST: Duration = Duration::from_secs(300);
const LATEST: Duration = Duration::from_secs(86400);

/// An identity provider, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The SAML entity ID, or the OIDC issuer.
    pub issuer: String,
    pub sign_on_url: String,
    /// The one that lives longest is the last; `None` for OIDC, whose keys have no end.
    pub certificates: Option<Vec<SigningCertificate>>,
    /// What the document itself says of when to look again.
    refresh_after: Option<Duration>,
}

/// Why a document is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error(transparent)]
    Saml(#[from] MetadataError),
    #[error(transparent)]
    Oidc(#[from] DiscoveryError),
}

impl Provider {
    /// Read a document of this connection.
    fn parse(connection: &SsoConnection, document: &[u8], now: Timestamp) -> Result<Self, Invalid> {
        if let Some(oidc) = &connection.spec.oidc {
            let found = discovery::parse(document, &oidc.issuer)?;
            return Ok(Self {
                issuer: found.issuer,
                sign_on_url: found.authorization_endpoint,
                certificates: None,
                refresh_after: None,
            });
        }
        let found = metadata::parse(document, now)?;
        Ok(Self {
            issuer: found.entity_id,
            sign_on_url: found.sign_on_url,
            certificates: Some(found.certificates),
            refresh_after: found.refresh_after,
        })
    }
}

#[cfg(test)]
impl Provider {
    /// With certificates that expire then, the last one last.
    pub fn fake(certificates: Option<&[Timestamp]>) -> Self {
        let certificate = |&not_after: &Timestamp| SigningCertificate {
            der: vec![],
            sha256: not_after.to_string(),
            not_after,
        };
        Self {
            issuer: "https://idp.example".into(),
            sign_on_url: "https://idp.example/sso".into(),
            certificates: certificates.map(|ends| ends.iter().map(certificate).collect()),
            refresh_after: None,
        }
    }
}

/// What is known of the identity provider.
#[derive(Debug)]
pub enum Metadata {
    Good {
        provider: Provider,
        /// When it is to be looked for again; never for what was given by hand and is good.
        refresh_at: Option<Timestamp>,
        /// Why it is no newer.
        problem: Option<String>,
    },
    Unreachable(FetchError),
    Invalid(Invalid),
    /// The Secret it should come from can't be used, as `ResolvedRefs` says.
    Unresolved,
    /// This older connection has its domains.
    Conflict(String),
    /// The connection is suspended, and nothing was read before.
    Suspended,
    /// The namespace is no organization.
    Refused,
}

/// What the ledger has of this very source.
struct Kept {
    row: Connection,
    /// `None` where it can no longer be used, as after its validUntil.
    provider: Option<Provider>,
}

/// Read the metadata, keep it in the ledger, and say whether what it refers to is there.
pub async fn read(
    connection: &SsoConnection,
    organization: &Organization,
    now: Timestamp,
    ctx: &Context,
) -> Result<(Verdict, Metadata)> {
    let name = connection.name_any();
    let stored = ctx.ledger.connection(&organization.id, &name).await?;
    let (resolved, source) = source(connection, ctx).await?;
    // what was read from elsewhere is no last good one of this source
    let kept = stored.filter(|row| source.is(&row.source)).map(|row| {
        let provider = Provider::parse(connection, &row.metadata, now).ok();
        Kept { row, provider }
    });
    let keep = async |source: String, provider: &Provider, metadata: Vec<u8>| -> Result<()> {
        let (issuer, request) = (provider.issuer.clone(), request(connection).cloned());
        let row =
            Connection { source, issuer, metadata, fetched_at: now, request, withdrawn: true };
        Ok(ctx.ledger.put_connection(&organization.id, &name, &row).await?)
    };
    let metadata = match source {
        Source::Missing { .. } => match kept.and_then(|kept| kept.provider) {
            Some(provider) => {
                let problem = Some(resolved.message.trim_end_matches('.').to_owned());
                Metadata::Good { provider, refresh_at: None, problem }
            }
            None => Metadata::Unresolved,
        },
        Source::Given { id, document, .. } => match Provider::parse(connection, &document, now) {
            Ok(provider) => {
                if kept.is_none_or(|kept| kept.row.source != id) {
                    keep(id, &provider, document).await?;
                }
                Metadata::Good { provider, refresh_at: None, problem: None }
            }
            Err(error) => last_good(kept, error.into(), now),
        },
        Source::Url { id, url } => match still_good(connection, kept.as_ref(), now) {
            Some(good) => good,
            None if connection.spec.suspend == Some(true) => Metadata::Suspended,
            None => match fetch(
                connection,
                ctx.fetchers.of(organization.allow_private_endpoints),
                url,
                now,
            )
            .await
            {
                Ok((document, provider)) => {
                    keep(id, &provider, document).await?;
                    let refresh_at = Some(refresh_at(now, &provider));
                    Metadata::Good { provider, refresh_at, problem: None }
                }
                Err(problem) => last_good(kept, problem, now),
            },
        },
    };
    Ok((resolved, metadata))
}

/// What is kept, as long as it need not be fetched again. A suspended connection's is not.
fn still_good(connection: &SsoConnection, kept: Option<&Kept>, now: Timestamp) -> Option<Metadata> {
    let kept = kept?;
    let provider = kept.provider.clone()?;
    let at = refresh_at(kept.row.fetched_at, &provider);
    let asked_for = request(connection).is_some_and(|r| kept.row.request.as_ref() != Some(r));
    let current = connection.spec.suspend == Some(true) || (at > now && !asked_for);
    current.then_some(Metadata::Good { provider, refresh_at: Some(at), problem: None })
}

/// A hiccup of the identity provider, or of who hands its metadata on, takes nobody's access.
fn last_good(kept: Option<Kept>, problem: Problem, now: Timestamp) -> Metadata {
    match (kept.and_then(|kept| kept.provider), problem) {
        (Some(provider), problem) => Metadata::Good {
            provider,
            refresh_at: now.checked_add(SOONEST).ok(),
            problem: Some(problem.to_string()),
        },
        (None, Problem::Fetch(error)) => Metadata::Unreachable(error),
        (None, Problem::Invalid(error)) => Metadata::Invalid(error),
    }
}

fn refresh_at(fetched_at: Timestamp, provider: &Provider) -> Timestamp {
    let after = provider.refresh_after.unwrap_or(REFRESH).clamp(SOONEST, LATEST);
    fetched_at.checked_add(after).unwrap_or(Timestamp::MAX)
}

/// The annotation that asks for a fetch now.
fn request(connection: &SsoConnection) -> Option<&String> {
    connection.annotations().get(meta::REQUESTED_AT)
}

/// Where metadata comes from. The id is what the ledger keeps, to know the source again.
enum Source {
    Url {
        id: String,
        /// The issuer of OIDC may be none that has a document.
        url: Result<String, DiscoveryError>,
    },
    Given {
        id: String,
        /// What the ids of all documents begin with that were given here.
        place: String,
        document: Vec<u8>,
    },
    /// A Secret that can't be used.
    Missing { place: String },
}

impl Source {
    /// Whether what was read from `other` was read from here.
    fn is(&self, other: &str) -> bool {
        match self {
            Self::Url { id, .. } => other == id,
            Self::Given { place, .. } | Self::Missing { place } => other.starts_with(place),
        }
    }
}

async fn source(connection: &SsoConnection, ctx: &Context) -> Result<(Verdict, Source)> {
    let fine = Verdict::yes(reason::RESOLVED_REFS, "");
    if let Some(oidc) = &connection.spec.oidc {
        let id = format!("oidc:{}", oidc.issuer);
        return Ok((fine, Source::Url { id, url: discovery::url(&oidc.issuer) }));
    }
    let SamlSpec { metadata_url, metadata } = connection.spec.saml.clone().unwrap_or_default();
    if let Some(url) = metadata_url {
        return Ok((fine, Source::Url { id: format!("url:{url}"), url: Ok(url) }));
    }
    let given = metadata.unwrap_or_default();
    let Some(secret) = given.secret_ref else {
        let document = given.inline.unwrap_or_default().into_bytes();
        // what is written here instead is another place: it is meant
        let id = format!("inline:{}", sha256(&document));
        return Ok((fine, Source::Given { place: id.clone(), id, document }));
    };
    let (namespace, name) = (namespace(connection), secret.name);
    let place = format!("secret:{name}:");
    Ok(match secrets::read(&ctx.client, &namespace, &name, &secrets::SAML_METADATA).await? {
        Ok(document) => {
            let id = format!("{place}{}", sha256(&document));
            (fine, Source::Given { id, place, document })
        }
        Err(unusable) => (unusable, Source::Missing { place }),
    })
}

fn sha256(data: &[u8]) -> String {
    digest::digest(&digest::SHA256, data).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
        hex
    })
}

/// Why there is no new metadata.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

async fn fetch(
    connection: &SsoConnection,
    fetcher: &Fetcher,
    url: Result<String, DiscoveryError>,
    now: Timestamp,
) -> Result<(Vec<u8>, Provider), Problem> {
    let document = fetcher.get(&url.map_err(Invalid::from)?).await?;
    let provider = Provider::parse(connection, &document, now)?;
    Ok((document, provider))
}
