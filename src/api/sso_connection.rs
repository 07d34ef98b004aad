use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
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
pub struct SsoConnectionSpec {
    /// Refuse sign-ins by this connection and stop fetching its metadata. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// The VerifiedDomains of this namespace whose people use this connection; only verified ones
    /// count. Omitted: every VerifiedDomain of the namespace. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub domains: Option<Vec<LocalRef>>,

    /// A SAML 2.0 identity provider.
    pub saml: SamlSpec,
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

/// What Rollcall found.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SsoConnectionStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The protocol the connection speaks: SAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,

    /// The identity provider, as its last good metadata describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_provider: Option<IdentityProviderStatus>,

    /// Accepted, ResolvedRefs, DomainsVerified, Configured and Ready; CertificateExpiring while
    /// the last signing certificate has less than 30 days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

super::status!(SsoConnectionStatus);

/// An identity provider as its metadata describes it.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityProviderStatus {
    /// Its SAML entity ID.
    #[serde(rename = "entityID")]
    pub entity_id: String,
    /// Where people are sent to sign in.
    #[serde(rename = "signOnURL")]
    pub sign_on_url: String,
    /// Its signing certificates, the one that lives longest first.
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
    use super::*;

    fn connection(saml: SamlSpec) -> SsoConnection {
        SsoConnection::new("okta", SsoConnectionSpec { suspend: None, domains: None, saml })
    }

    #[test]
    fn metadata_comes_from_exactly_one_place() {
        let url = Some("https://idp.example/metadata".to_owned());
        let inline =
            Some(MetadataSource { inline: Some("<x/>".into()), ..MetadataSource::default() });
        let by_url = SamlSpec { metadata_url: url.clone(), metadata: None };
        assert!(connection(by_url).validate_cel().is_ok());
        let both = SamlSpec { metadata_url: url, metadata: inline };
        assert!(connection(both).validate_cel().is_err());
        assert!(connection(SamlSpec::default()).validate_cel().is_err());
    }
}
