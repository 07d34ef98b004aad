use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Which domain the organization says is its own.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "rollcall.dev",
    version = "v1alpha1",
    kind = "VerifiedDomain",
    plural = "verifieddomains",
    shortname = "vd",
    category = "rollcall",
    namespaced,
    status = "VerifiedDomainStatus",
    derive = "PartialEq",
    doc = "An e-mail domain that an organization proves to own by publishing a TXT record. People of a verified domain can sign in by the organization's SsoConnection.",
    selectable = ".spec.domain",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Verified")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Verified")].reason"#
    ),
    printcolumn(
        name = "Record",
        type_ = "string",
        json_path = ".status.challenge.recordName",
        priority = 1
    ),
    printcolumn(
        name = "Value",
        type_ = "string",
        json_path = ".status.challenge.recordValue",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct VerifiedDomainSpec {
    /// The domain to prove, for example acme.com. Capitals, a trailing dot and Unicode are
    /// accepted. Can't be changed: make another VerifiedDomain instead.
    #[schemars(length(min = 1, max = 254))]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("domain can't be changed: make another VerifiedDomain and delete this one"),
        validation = Rule::new("!self.contains('@')")
            .message("write the domain alone, acme.com, not an e-mail address"),
        validation = Rule::new("!self.contains('/') && !self.contains(':')")
            .message("write the domain alone, acme.com, not a URL or a port"),
        validation = Rule::new("!self.contains('*')")
            .message("write the domain itself, acme.com: wildcards can't be proved"),
        validation = Rule::new(r"!self.matches('[\\s\\pZ,]')")
            .message("write one domain, without spaces or commas; each further one is a VerifiedDomain of its own")
    )]
    pub domain: String,

    /// Stop looking for a proof. What is proved already still ages and can be lost. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What Rollcall found.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedDomainStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The domain in its canonical form: lower case, A-labels, no trailing dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,

    /// When the present proof was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,

    /// The record to publish, and to leave published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,

    /// Accepted, Verified and Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

super::status!(VerifiedDomainStatus);

/// A DNS record that proves ownership.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// The record's full name, for example _rollcall-challenge.acme.com.
    pub record_name: String,
    /// Always TXT.
    pub record_type: String,
    /// The record's value. It differs for every organization.
    pub record_value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> VerifiedDomain {
        let spec = VerifiedDomainSpec { domain: name.into(), suspend: None };
        VerifiedDomain::new("d", spec)
    }

    #[test]
    fn what_is_not_a_domain_alone_is_refused_with_what_to_write() {
        for good in ["acme.com", "ACME.com.", "bücher.example"] {
            assert!(domain(good).validate_cel().is_ok(), "{good}");
        }
        for (bad, says) in [
            ("ada@acme.com", "e-mail address"),
            ("https://acme.com", "URL"),
            ("acme.com:443", "port"),
            ("*.acme.com", "wildcards"),
            ("acme.com, acme.io", "one domain"),
        ] {
            let errors = format!("{:?}", domain(bad).validate_cel().unwrap_err());
            assert!(errors.contains(says), "{bad}: {errors}");
        }
    }

    #[test]
    fn domain_is_immutable() {
        assert!(domain("b.com").validate_cel_update(&domain("a.com")).is_err());
    }
}
