//! Secrets that objects name: by name only, and only of the type made for what they are used for,
//! so that nobody can have another Secret posted to an address of their choosing.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::Result;
use crate::api::conditions::{Verdict, reason};

/// The type of a Secret, and the key of its data.
pub struct Form {
    kind: &'static str,
    key: &'static str,
}

/// The metadata of a SAML identity provider.
pub const SAML_METADATA: Form = Form { kind: "rollcall.dev/saml-metadata", key: "metadata" };
/// The client secret that a company IdP gave us, or that a client of ours has.
const OIDC_CLIENT: Form = Form { kind: "rollcall.dev/oidc-client", key: "clientSecret" };

/// What the Secret holds, or what is wrong with it.
pub async fn read(
    client: &Client,
    namespace: &str,
    name: &str,
    form: &Form,
) -> Result<Result<Vec<u8>, Verdict>> {
    let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
    Ok(held(found, namespace, name, form))
}

/// The client secret in the Secret of this name, without the line end that a file gave it.
pub async fn client_secret(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Result<Vec<u8>, Verdict>> {
    let held = read(client, namespace, name, &OIDC_CLIENT).await?;
    Ok(held.and_then(|secret| text(secret, name)))
}

fn held(
    found: Option<Secret>,
    namespace: &str,
    name: &str,
    Form { kind, key }: &Form,
) -> Result<Vec<u8>, Verdict> {
    let missing = |message| Err(Verdict::no(reason::SECRET_NOT_FOUND, message));
    let Some(secret) = found else {
        return missing(format!(
            "There is no Secret {name} in the namespace {namespace}: make it, with the type {kind}, or correct the name."
        ));
    };
    if secret.type_.as_deref() != Some(kind) {
        let message = format!("The Secret {name} must be made anew with the type {kind}.");
        return Err(Verdict::no(reason::SECRET_TYPE_NOT_ALLOWED, message));
    }
    match secret.data.and_then(|mut data| data.remove(*key)) {
        Some(value) if !value.0.is_empty() => Ok(value.0),
        _ => missing(format!("The Secret {name} has nothing under the key {key}.")),
    }
}

fn text(mut secret: Vec<u8>, name: &str) -> Result<Vec<u8>, Verdict> {
    secret.truncate(secret.trim_ascii_end().len());
    if secret.is_empty() || std::str::from_utf8(&secret).is_err() {
        let message = format!("The Secret {name} has no text under the key {}.", OIDC_CLIENT.key);
        return Err(Verdict::no(reason::SECRET_NOT_FOUND, message));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(secret: serde_json::Value) -> Result<Vec<u8>, String> {
        let found = serde_json::from_value(secret).unwrap();
        let held = held(found, "acme", "okta", &OIDC_CLIENT).and_then(|held| text(held, "okta"));
        held.map_err(|verdict| verdict.reason.into_owned())
    }

    #[test]
    fn a_secret_is_read_only_if_it_was_made_for_that() {
        // c2VjcmV0Cg== is "secret\n", Cg== a line end alone, //8= no text
        let with = |kind: &str, data: &str| {
            read(json!({ "type": kind, "data": { "clientSecret": data } }))
        };
        assert_eq!(with("rollcall.dev/oidc-client", "c2VjcmV0Cg==").unwrap(), b"secret");
        let not_found = Err(reason::SECRET_NOT_FOUND.to_owned());
        assert_eq!(read(json!(null)), not_found);
        assert_eq!(read(json!({ "type": "rollcall.dev/oidc-client" })), not_found);
        for nothing in ["", "Cg==", "//8="] {
            assert_eq!(with("rollcall.dev/oidc-client", nothing), not_found, "{nothing}");
        }
        for other in ["Opaque", "rollcall.dev/saml-metadata", "rollcall.dev/scim-token"] {
            let refused = Err(reason::SECRET_TYPE_NOT_ALLOWED.to_owned());
            assert_eq!(with(other, "c2VjcmV0Cg=="), refused, "{other}");
        }
    }
}
