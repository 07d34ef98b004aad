use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalRef;

/// Which identity provider the organization signs in with.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "rollcall.dev",
    version = "v1alpha1",
    kind = "SsoConnection",
    plural = "ssoconnections",
    shortname = "sso",
    category = "rollcall",
    namespaced,
    status = "SsoConnectionStatus",
    derive = "PartialEq",
    doc = "The connection to an organization's own identity provider. Whoever may edit it can act as any member of the organization.",
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("the name is part of URLs: at most 63 characters"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".status.protocol"),
    printcolumn(
        name = "Configured",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Configured")].status"#
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "IdP",
        type_ = "string",
        json_path = ".status.identityProvider.entityID",
        priority = 1
    ),
    printcolumn(
        name = "Cert-Expires",
        type_ = "string",
        json_path = ".status.identityProvider.certificates[0].notAfter",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.saml) != has(self.oidc)")
        .message("give either saml or oidc, not both"),
    validation = Rule::new("has(self.saml) == has(oldSelf.saml)")
        .message("the protocol can't be changed: make another SsoConnection and delete this one"),
    validation = Rule::new(
            "has(self.saml) || !has(self.signIn) || !has(self.signIn.idpInitiated) || !self.signIn.idpInitiated")
        .message("idpInitiated is for saml alone: leave it out")
)]
pub struct SsoConnectionSpec {
    /// Refuse sign-ins by this connection, end its sessions' access and stop fetching its metadata.
    /// Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// The VerifiedDomains of this namespace whose people use this connection; only verified ones
    /// count. Omitted: every VerifiedDomain of the namespace. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub domains: Option<Vec<LocalRef>>,

    /// A SAML 2.0 identity provider. Exactly one of saml and oidc; can't be changed to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saml: Option<SamlSpec>,

    /// An OpenID Connect provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcSpec>,

    /// Which of the identity provider's attributes or claims hold what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<AttributesSpec>,

    /// Who is let in: DirectoryOnly, only whom the directory knows; JustInTime, also others, who
    /// have no teams. Default DirectoryOnly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admit: Option<Admit>,

    /// The directory in which people are looked up. Default: the namespace's only DirectorySync,
    /// by userName.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectorySpec>,

    /// How people sign in, and for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInSpec>,
}

/// Where the identity provider's SAML metadata comes from: exactly one of the two.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.metadataURL) != has(self.metadata)")
    .message("give either metadataURL or metadata, not both"))]
pub struct SamlSpec {
    /// An https URL. Fetched again hourly, or as its validUntil and cacheDuration say, so that a
    /// new certificate needs no edit.
    #[serde(default, rename = "metadataURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new(
            "isURL(self) && url(self).getScheme() == 'https' && url(self).getHostname() != ''")
        .message("write a full URL that begins with https://"))]
    pub metadata_url: Option<String>,

    /// The metadata itself, where it can't be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataSource>,
}

/// SAML metadata given by hand: exactly one of the two.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.inline)")
    .message("give either secretRef or inline, not both"))]
pub struct MetadataSource {
    /// A Secret of this namespace, of type rollcall.dev/saml-metadata, that holds the XML under
    /// the key metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,

    /// The XML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262_144))]
    pub inline: Option<String>,
}

/// An OpenID Connect provider, and what it knows Rollcall by.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcSpec {
    /// The provider's issuer, exactly as its discovery document has it. Can't be changed.
    #[schemars(length(max = 1024))]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("issuer can't be changed: make another SsoConnection and delete this one"),
        validation = Rule::new(
                "isURL(self) && url(self).getScheme() == 'https' && url(self).getHostname() != '' && !self.contains('?') && !self.contains('#')")
            .message("write the issuer as its discovery document has it: a full URL that begins with https://, without ? and #")
    )]
    pub issuer: String,

    /// The client id that the provider gave Rollcall.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[ -~]+$"))]
    pub client_id: String,

    /// A Secret of this namespace, of type rollcall.dev/oidc-client, that holds the client secret
    /// under the key clientSecret.
    pub client_secret_ref: LocalRef,

    /// What is asked for beside openid. Omitted: email and profile. Empty: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 128), regex(pattern = r"^[!#-\[\]-~]+$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Option<Vec<String>>,
}

/// Which attributes (SAML) or claims (OIDC) hold what. What is omitted is found where Okta, Entra,
/// Keycloak, Google, JumpCloud and OneLogin put it.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct AttributesSpec {
    /// The one that holds the e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub email: Option<String>,

    /// The one that holds the name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
}

/// Who is let in.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub enum Admit {
    #[default]
    DirectoryOnly,
    JustInTime,
}

/// In which directory people are looked up, and by what.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DirectorySpec {
    /// A DirectorySync of this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// What links somebody to their directory person at the first sign-in: userName, the SCIM
    /// userName equals what they sign in by at their company; externalId, the SCIM externalId
    /// equals the NameID or sub; email, the person's primary (or only) e-mail equals the asserted
    /// one. Capitals don't matter, in ASCII, but to externalId. Default userName.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<Matching>,
}

/// What links somebody to their directory person.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Matching {
    #[default]
    UserName,
    ExternalId,
    Email,
}

/// How people sign in, and for how long.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInSpec {
    /// Whether people may begin at the company's own portal (SAML alone): a response is then taken
    /// that nobody here asked for. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idp_initiated: Option<bool>,

    /// How long a sign-in lasts, 5m to 168h, for example 1h30m; less where a SAML response says so
    /// (SessionNotOnOrAfter). Default 12h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new(
            "self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && duration(self) >= duration('5m') && duration(self) <= duration('168h')")
        .message("write how long, from 5m to 168h, for example 12h or 1h30m"))]
    pub session_duration: Option<String>,
}

/// What Rollcall found.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SsoConnectionStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The protocol the connection speaks: SAML or OIDC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,

    /// What to enter at the identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_provider: Option<ServiceProviderStatus>,

    /// The day (UTC) of the last sign-in by this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sign_in_day: Option<String>,

    /// The identity provider, as its last good metadata or discovery document describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_provider: Option<IdentityProviderStatus>,

    /// Accepted, ResolvedRefs, DomainsVerified, Configured and Ready; CertificateExpiring while
    /// the last signing certificate has less than 30 days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

super::status!(SsoConnectionStatus);

/// What to enter at the identity provider.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceProviderStatus {
    /// SAML: Rollcall's entity ID, which IdPs also call audience.
    #[serde(default, rename = "entityID", skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    /// SAML: where responses are posted to (assertion consumer service).
    #[serde(default, rename = "acsURL", skip_serializing_if = "Option::is_none")]
    pub acs_url: Option<String>,
    /// SAML: Rollcall's metadata, for IdPs that can read it.
    #[serde(default, rename = "metadataURL", skip_serializing_if = "Option::is_none")]
    pub metadata_url: Option<String>,
    /// OIDC: the redirect URI.
    #[serde(default, rename = "redirectURL", skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
}

/// An identity provider as its metadata describes it.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityProviderStatus {
    /// Its SAML entity ID, or its OIDC issuer.
    #[serde(rename = "entityID")]
    pub entity_id: String,
    /// Where people are sent to sign in.
    #[serde(rename = "signOnURL")]
    pub sign_on_url: String,
    /// Its signing certificates, the one that lives longest first. OIDC has none.
    pub certificates: Vec<CertificateStatus>,
}

/// A signing certificate.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The SHA-256 fingerprint of its DER form, in lower-case hex.
    pub sha256: String,
    /// When it expires.
    pub not_after: Time,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn connection(spec: Value) -> SsoConnection {
        SsoConnection::new("okta", serde_json::from_value(spec).unwrap())
    }

    fn is_valid(spec: Value) -> bool {
        connection(spec).validate_cel().is_ok()
    }

    fn oidc(issuer: &str) -> Value {
        json!({ "issuer": issuer, "clientID": "rollcall", "clientSecretRef": { "name": "a" } })
    }

    #[test]
    fn metadata_comes_from_exactly_one_place() {
        let url = "https://idp.example/metadata";
        let saml = |saml| is_valid(json!({ "saml": saml }));
        assert!(saml(json!({ "metadataURL": url })));
        assert!(!saml(json!({ "metadataURL": url, "metadata": { "inline": "<x/>" } })));
        assert!(!saml(json!({})));
    }

    #[test]
    fn a_connection_speaks_exactly_one_protocol_for_good() {
        let saml = json!({ "saml": { "metadata": { "inline": "<x/>" } } });
        let spoken = json!({ "oidc": oidc("https://idp.example") });
        let both = json!({ "saml": saml["saml"], "oidc": spoken["oidc"] });
        assert!(is_valid(saml.clone()) && is_valid(spoken.clone()));
        assert!(!is_valid(both) && !is_valid(json!({})));
        let changed = |from: &Value, to: &Value| {
            connection(to.clone()).validate_cel_update(&connection(from.clone()))
        };
        assert!(changed(&saml, &saml).is_ok() && changed(&spoken, &spoken).is_ok());
        assert!(changed(&saml, &spoken).is_err());
        let other = json!({ "oidc": oidc("https://idp.example/other") });
        assert!(changed(&spoken, &other).is_err());
    }

    #[test]
    fn an_issuer_is_a_plain_https_url() {
        let issuer = |issuer| is_valid(json!({ "oidc": oidc(issuer) }));
        assert!(issuer("https://idp.example/realms/acme"));
        for bad in ["http://idp.example", "idp.example", "https://idp.example?a", "https://a#b"] {
            assert!(!issuer(bad), "{bad}");
        }
    }

    #[test]
    fn only_saml_begins_at_the_companys_portal() {
        let sign_in = json!({ "idpInitiated": true });
        let saml = json!({ "metadata": { "inline": "<x/>" } });
        assert!(is_valid(json!({ "saml": saml, "signIn": sign_in })));
        let oidc = oidc("https://idp.example");
        assert!(!is_valid(json!({ "oidc": oidc, "signIn": sign_in })));
        assert!(is_valid(json!({ "oidc": oidc, "signIn": { "idpInitiated": false } })));
    }

    #[test]
    fn a_session_lasts_five_minutes_to_a_week() {
        let lasts = |duration: &str| {
            let saml = json!({ "metadata": { "inline": "<x/>" } });
            is_valid(json!({ "saml": saml, "signIn": { "sessionDuration": duration } }))
        };
        for good in ["5m", "12h", "1h30m", "300s", "168h", "167h59m60s"] {
            assert!(lasts(good), "{good}");
            assert!(crate::api::seconds(good).is_some_and(|s| (300..=604_800).contains(&s)));
        }
        for bad in ["", "4m59s", "168h1s", "12", "1d", "1.5h", "-5h", "30m1h", "5 m"] {
            assert!(!lasts(bad), "{bad}");
        }
    }
}
