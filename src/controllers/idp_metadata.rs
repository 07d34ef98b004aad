//! Where an SsoConnection's metadata comes from, and keeping the last good one.

use std::{fmt::Write as _, time::Duration};

use aws_lc_rs::digest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::{Context, Result, namespace, tenancy::Organization};
use crate::{
    api::{
        SamlSpec, SsoConnection,
        conditions::{Verdict, reason},
        meta,
    },
    fetch::{FetchError, Fetcher},
    ledger::Connection,
    saml::metadata::{self, IdentityProvider, MetadataError},
};

/// The type of Secret that may hold metadata, and the key under which it does.
const SECRET_TYPE: &str = "rollcall.dev/saml-metadata";
const SECRET_KEY: &str = "metadata";
/// When metadata that says nothing of it is fetched again, and the bounds for what it says.
const REFRESH: Duration = Duration::from_secs(3600);
const SOONEST: Duration = Duration::from_secs(300);
const LATEST: Duration = Duration::from_secs(86400);

/// What is known of the identity provider.
#[derive(Debug)]
pub enum Metadata {
    Good {
        provider: IdentityProvider,
        /// When it is to be fetched again; never for what was given by hand.
        refresh_at: Option<Timestamp>,
        /// Why it is no newer.
        problem: Option<String>,
    },
    Unreachable(FetchError),
    Invalid(MetadataError),
    /// The Secret it should come from can't be used, as `ResolvedRefs` says.
    Unresolved,
    /// This older connection has its domains.
    Conflict(String),
    /// The connection is suspended, and nothing was read before.
    Suspended,
    /// The namespace is no organization.
    Refused,
}

impl Metadata {
    fn good(provider: IdentityProvider) -> Self {
        Self::Good { provider, refresh_at: None, problem: None }
    }
}

/// What the ledger has of this very source.
struct Kept {
    row: Connection,
    /// `None` where it can no longer be used, as after its validUntil.
    provider: Option<IdentityProvider>,
}

/// Read the metadata, publish it, and say whether what it refers to is there.
pub async fn read(
    connection: &SsoConnection,
    organization: &Organization,
    now: Timestamp,
    ctx: &Context,
) -> Result<(Verdict, Metadata)> {
    let name = connection.name_any();
    let stored = ctx.ledger.connection(&organization.id, &name).await?;
    let had_one = stored.is_some();
    let withdrawn = stored.as_ref().is_some_and(|row| row.withdrawn);
    let (resolved, source) = source(connection, ctx).await?;
    let kept = stored.filter(|row| source.is(&row.source)).map(|row| {
        let provider = metadata::parse(&row.metadata, now).ok();
        Kept { row, provider }
    });
    let publish = async |source: String, issuer: String, metadata: Vec<u8>| -> Result<()> {
        let request = request(connection).cloned();
        let row =
            Connection { source, issuer, metadata, fetched_at: now, request, withdrawn: true };
        Ok(ctx.ledger.put_connection(&organization.id, &name, &row).await?)
    };
    let of_this_source = kept.is_some();
    let metadata = match source {
        Source::Missing(_) => match kept.and_then(|kept| kept.provider) {
            Some(provider) => {
                let problem = Some(resolved.message.trim_end_matches('.').to_owned());
                Metadata::Good { provider, refresh_at: None, problem }
            }
            None => Metadata::Unresolved,
        },
        Source::Given { id, xml } => match metadata::parse(&xml, now) {
            Ok(provider) => {
                if !of_this_source || withdrawn {
                    publish(id, provider.entity_id.clone(), xml).await?;
                }
                Metadata::good(provider)
            }
            Err(error) => Metadata::Invalid(error),
        },
        Source::Url(url) => match still_good(connection, kept.as_ref(), now) {
            Some(good) => good,
            None if connection.spec.suspend == Some(true) => Metadata::Suspended,
            None => match fetch(ctx.fetchers.of(organization.allow_private_endpoints), &url, now)
                .await
            {
                Ok((xml, provider)) => {
                    publish(Source::Url(url).id(), provider.entity_id.clone(), xml).await?;
                    let refresh_at = Some(refresh_at(now, &provider));
                    Metadata::Good { provider, refresh_at, problem: None }
                }
                Err(problem) => last_good(kept, problem, now),
            },
        },
    };
    // what was read from elsewhere is no last good one of this source
    if had_one && !of_this_source && !matches!(metadata, Metadata::Good { .. }) {
        ctx.ledger.delete_connection(&organization.id, &name).await?;
    }
    Ok((resolved, metadata))
}

/// What is kept, as long as it need not be fetched again. A suspended connection's is not.
fn still_good(connection: &SsoConnection, kept: Option<&Kept>, now: Timestamp) -> Option<Metadata> {
    let kept = kept?;
    let provider = kept.provider.clone()?;
    let at = refresh_at(kept.row.fetched_at, &provider);
    let asked_for = request(connection).is_some_and(|r| kept.row.request.as_ref() != Some(r));
    let current =
        connection.spec.suspend == Some(true) || (at > now && !asked_for && !kept.row.withdrawn);
    current.then_some(Metadata::Good { provider, refresh_at: Some(at), problem: None })
}

/// The identity provider's hiccup takes nobody's access.
fn last_good(kept: Option<Kept>, problem: Problem, now: Timestamp) -> Metadata {
    match (kept.and_then(|kept| kept.provider), problem) {
        (Some(provider), problem) => Metadata::Good {
            provider,
            refresh_at: now.checked_add(SOONEST).ok(),
            problem: Some(problem.to_string()),
        },
        (None, Problem::Fetch(error)) => Metadata::Unreachable(error),
        (None, Problem::Metadata(error)) => Metadata::Invalid(error),
    }
}

fn refresh_at(fetched_at: Timestamp, provider: &IdentityProvider) -> Timestamp {
    let after = provider.refresh_after.unwrap_or(REFRESH).clamp(SOONEST, LATEST);
    fetched_at.checked_add(after).unwrap_or(Timestamp::MAX)
}

/// The annotation that asks for a fetch now.
fn request(connection: &SsoConnection) -> Option<&String> {
    connection.annotations().get(meta::REQUESTED_AT)
}

/// Where metadata comes from.
enum Source {
    Url(String),
    Given {
        id: String,
        xml: Vec<u8>,
    },
    /// The Secret of this name, which can't be used.
    Missing(String),
}

impl Source {
    /// What the ledger keeps, to know the source again.
    fn id(&self) -> String {
        match self {
            Self::Url(url) => format!("url:{url}"),
            Self::Given { id, .. } => id.clone(),
            Self::Missing(secret) => format!("secret:{secret}:"),
        }
    }

    /// Whether what was read from `id` was read from here.
    fn is(&self, id: &str) -> bool {
        match self {
            Self::Url(_) | Self::Given { .. } => id == self.id(),
            Self::Missing(_) => id.starts_with(&self.id()),
        }
    }
}

async fn source(connection: &SsoConnection, ctx: &Context) -> Result<(Verdict, Source)> {
    let fine = Verdict::yes(reason::RESOLVED_REFS, "");
    let SamlSpec { metadata_url, metadata } = &connection.spec.saml;
    if let Some(url) = metadata_url {
        return Ok((fine, Source::Url(url.clone())));
    }
    let given = metadata.clone().unwrap_or_default();
    let Some(secret) = given.secret_ref else {
        let xml = given.inline.unwrap_or_default().into_bytes();
        return Ok((fine, Source::Given { id: format!("inline:{}", sha256(&xml)), xml }));
    };
    let name = secret.name;
    let api = Api::<Secret>::namespaced(ctx.client.clone(), &namespace(connection));
    let missing =
        |reason, message| Ok((Verdict::no(reason, message), Source::Missing(name.clone())));
    let Some(found) = api.get_opt(&name).await? else {
        let message =
            format!("There is no Secret {name} in this namespace: make it, or correct the name.");
        return missing(reason::SECRET_NOT_FOUND, message);
    };
    if found.type_.as_deref() != Some(SECRET_TYPE) {
        let message = format!("The Secret {name} must be made anew with the type {SECRET_TYPE}.");
        return missing(reason::SECRET_TYPE_NOT_ALLOWED, message);
    }
    let Some(xml) = found.data.and_then(|mut data| data.remove(SECRET_KEY)) else {
        let message = format!("The Secret {name} has nothing under the key {SECRET_KEY}.");
        return missing(reason::SECRET_NOT_FOUND, message);
    };
    Ok((fine, Source::Given { id: format!("secret:{name}:{}", sha256(&xml.0)), xml: xml.0 }))
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
    Metadata(#[from] MetadataError),
}

async fn fetch(
    fetcher: &Fetcher,
    url: &str,
    now: Timestamp,
) -> Result<(Vec<u8>, IdentityProvider), Problem> {
    let xml = fetcher.get(url).await?;
    let provider = metadata::parse(&xml, now)?;
    Ok((xml, provider))
}
