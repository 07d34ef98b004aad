//! The Secret with a directory's token: made, rotated, made anew where it was deleted. What the
//! Secret says is never believed: its annotation only names the token, whose hash is in the ledger.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use uuid::Uuid;

use super::{Context, MANAGER, Result, namespace};
use crate::{
    api::{DirectorySync, conditions::whole_seconds, meta, seconds},
    keys,
    ledger::{AuditLine, Directory, Rotation, Token, scim::token_tag},
};

/// The type of the Secret that holds a token.
const SECRET_TYPE: &str = "rollcall.dev/scim-token";
/// How long the token before works where the spec says nothing.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

/// How the Secret with the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSecret {
    Ours(String),
    /// Somebody else's is in the way, and stays.
    Foreign(String),
}

/// What a Secret that is there, or isn't, asks for, if anything.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    /// A new token, and the end of all before it.
    Anew,
    /// A new token beside this one, which the company IdP has.
    Beside(Uuid),
}

/// See that the Secret holds a token that opens the directory, and the newest one.
pub async fn keep(
    sync: &DirectorySync,
    organization: &str,
    directory: &mut Directory,
    endpoint: &str,
    now: Timestamp,
    ctx: &Context,
) -> Result<TokenSecret> {
    let name = format!("{}-scim-token", sync.name_any());
    let audit = async |action: &str, detail: Option<String>| {
        let line = AuditLine {
            at: now,
            actor: MANAGER.into(),
            action: action.into(),
            subject: sync.name_any(),
            detail,
            reference: None,
        };
        ctx.ledger.audit(organization, &line).await
    };
    let api = Api::<Secret>::namespaced(ctx.client.clone(), &namespace(sync));
    let found = api.get_metadata_opt(&name).await?;
    if found.as_ref().is_some_and(|secret| !is_ours(secret, sync)) {
        // ours was deleted before this one came, and its token went with it
        if !directory.tokens.is_empty() {
            ctx.ledger.delete_tokens(directory.id).await?;
            audit("token.end", Some("somebody else's Secret has its name".into())).await?;
        }
        return Ok(TokenSecret::Foreign(name));
    }
    let over = |token: &Token| token.ends_at.is_some_and(|at| at <= now);
    if directory.tokens.iter().any(over) {
        ctx.ledger.forget_tokens(directory.id, now).await?;
        directory.tokens.retain(|token| !over(token));
    }
    let request = sync.annotations().get(meta::ROTATE_TOKEN);
    let Some(need) = need(found.as_ref().and_then(token_id), directory, request) else {
        return Ok(TokenSecret::Ours(name));
    };
    let (id, token) = (Uuid::now_v7(), BASE64_URL_SAFE_NO_PAD.encode(keys::random()?));
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    // a crash before the Secret is written only means one more token at the next pass
    match need {
        Need::Anew => {
            // from here on the old token opens nothing
            ctx.ledger.replace_token(directory.id, id, hash.as_ref(), now).await?;
            if directory.rotation.as_ref() != request {
                ctx.ledger.met_rotation(directory.id, request.map(String::as_str)).await?;
            }
            directory.first_request_at = None;
            let ended = !directory.tokens.is_empty();
            directory.tokens.clear();
            let ended = if ended { "; the one before has ended" } else { "" };
            audit("token.create", Some(token_tag(id) + ended)).await?;
        }
        Need::Beside(held) => {
            let request = request.map(String::as_str);
            // as the ledger keeps it, for the status to say the same from here on
            let ends_at = whole_seconds(now + overlap(sync)).0;
            let rotation = Rotation { held, ends_at, request };
            ctx.ledger.rotate_token(directory.id, id, hash.as_ref(), rotation, now).await?;
            // none gets more time than it had
            let had = directory.tokens.iter().find(|token| token.id == held);
            let ends_at = had.and_then(|token| token.ends_at).map_or(ends_at, |at| at.min(ends_at));
            directory.tokens = vec![Token { id: held, ends_at: Some(ends_at) }];
            let (new, old) = (token_tag(id), token_tag(held));
            let detail = format!("{new}; the one before, {old}, ends at {ends_at}");
            audit("token.rotate", Some(detail)).await?;
        }
    }
    let secret = secret(sync, &name, id, endpoint, &token);
    match found {
        None => match api.create(&PostParams::default(), &secret).await {
            Err(kube::Error::Api(error)) if error.is_already_exists() => {
                return Ok(TokenSecret::Foreign(name));
            }
            other => drop(other?),
        },
        Some(old) => {
            let mut patch = serde_json::to_value(&secret).map_err(kube::Error::SerdeError)?;
            patch["metadata"]["resourceVersion"] = json!(old.resource_version());
            let params = PatchParams::apply(MANAGER).force();
            api.patch(&name, &params, &Patch::Apply(patch)).await?;
        }
    }
    Ok(TokenSecret::Ours(name))
}

/// What is to be done, by the token that the Secret names.
fn need(named: Option<Uuid>, directory: &Directory, request: Option<&String>) -> Option<Need> {
    let Some(token) = directory.tokens.iter().find(|token| Some(token.id) == named) else {
        return Some(Need::Anew);
    };
    let met = request.is_none() || directory.rotation.as_ref() == request;
    match token.ends_at {
        None if met => None,
        None => Some(Need::Beside(token.id)),
        // begun, and the Secret never came to hold the new one
        Some(_) => Some(Need::Beside(token.id)),
    }
}

fn overlap(sync: &DirectorySync) -> SignedDuration {
    let given = sync.spec.source.scim.as_ref().and_then(|scim| scim.token_overlap.as_deref());
    given.and_then(seconds).map_or(OVERLAP, SignedDuration::from_secs)
}

fn is_ours(secret: &PartialObjectMeta<Secret>, sync: &DirectorySync) -> bool {
    secret.labels().get(meta::MANAGED_BY).is_some_and(|by| by == MANAGER)
        && secret.labels().get(meta::OWNER_UID) == sync.meta().uid.as_ref()
}

/// The token that a Secret says it holds.
fn token_id(secret: &PartialObjectMeta<Secret>) -> Option<Uuid> {
    secret.annotations().get(meta::TOKEN_ID)?.parse().ok()
}

fn secret(sync: &DirectorySync, name: &str, id: Uuid, endpoint: &str, token: &str) -> Secret {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: sync.namespace(),
            labels: Some(BTreeMap::from([
                pair(meta::MANAGED_BY, MANAGER),
                pair(meta::OWNER_UID, &sync.uid().unwrap_or_default()),
            ])),
            annotations: Some(BTreeMap::from([pair(meta::TOKEN_ID, &id.to_string())])),
            owner_references: sync.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.into()),
        string_data: Some(BTreeMap::from([pair("endpoint", endpoint), pair("token", token)])),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_only_where_the_secret_doesnt_name_the_newest() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let token = |id, ends_at| Token { id, ends_at };
        let with = |tokens: &[Token], met: Option<&str>| Directory {
            id: Uuid::nil(),
            first_request_at: None,
            changed_at: None,
            users: 0,
            groups: 0,
            tokens: tokens.to_vec(),
            rotation: met.map(str::to_owned),
        };
        let ask = |named, directory: &Directory, request: Option<&str>| {
            need(named, directory, request.map(str::to_owned).as_ref())
        };
        let one = with(&[token(old, None)], None);
        assert_eq!(ask(None, &with(&[], None), None), Some(Need::Anew), "the first");
        assert_eq!(ask(Some(old), &one, None), None);
        assert_eq!(ask(None, &one, None), Some(Need::Anew), "the Secret was deleted");
        assert_eq!(
            ask(None, &one, Some("now")),
            Some(Need::Anew),
            "and that goes before a request"
        );
        assert_eq!(ask(Some(new), &one, None), Some(Need::Anew), "somebody changed its annotation");
        assert_eq!(ask(Some(old), &one, Some("now")), Some(Need::Beside(old)));
        // rotated; and once the request is met, it stays so, also when the annotation goes
        let two = with(&[token(old, Some(at(200))), token(new, None)], Some("now"));
        assert_eq!(ask(Some(new), &two, Some("now")), None);
        assert_eq!(ask(Some(new), &two, None), None);
        assert_eq!(ask(Some(new), &two, Some("again")), Some(Need::Beside(new)));
        assert_eq!(ask(Some(old), &two, Some("now")), Some(Need::Beside(old)), "never handed out");
        let over = with(&[token(new, None)], Some("now"));
        assert_eq!(ask(Some(old), &over, Some("now")), Some(Need::Anew));
    }
}
