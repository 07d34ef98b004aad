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
            .message("write the domain alone, acme.com, not a URL, a port or an address"),
        validation = Rule::new("!self.contains('*')")
            .message("write the domain itself, acme.com: wildcards can't be proved; includeSubdomains covers what is below"),
        validation = Rule::new(r"!self.matches('[\\s\\pZ,]')")
            .message("write one domain, without spaces or commas; each further one is a VerifiedDomain of its own"),
        validation = Rule::new("!self.matches('^[0-9.]+$')")
            .message("write a domain name like acme.com, not an IP address"),
        validation = Rule::new(r"self.matches('[^.][.\u3002\uff0e\uff61][^.]')")
            .message("write a whole domain name like acme.com: this has only one label"),
        validation = Rule::new(r"!self.matches('^[.]|[.][.]')")
            .message("write the domain like acme.com: it begins with a dot, or has two with nothing between them"),
        validation = Rule::new(r"!self.matches('(^|[.])-|-([.]|$)')")
            .message("no part of a domain name begins or ends with a hyphen"),
        validation = Rule::new("!self.contains('_')")
            .message("write the domain itself, acme.com, without an underscore: the record's name comes from it"),
        validation = Rule::new("!self.matches('[^.]{64}')")
            .message("no part of a domain name is longer than 63 characters"),
        validation = Rule::new("size(self) <= 234")
            .message("this name is too long to put _rollcall-challenge before it: prove a shorter, parent domain")
    )]
    pub domain: String,

    /// Whether the proof also covers every name below the domain, such as mail.acme.com, down to
    /// one that somebody has proved. Where it is taken back, those people are signed out. Default
    /// false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_subdomains: Option<bool>,

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
        let spec =
            VerifiedDomainSpec { domain: name.into(), include_subdomains: None, suspend: None };
        VerifiedDomain::new("d", spec)
    }

    #[test]
    fn what_is_not_a_domain_alone_is_refused_with_what_to_write() {
        let long = |length: usize| format!("{}co", "a.".repeat(length / 2 - 1));
        let label = "a".repeat(63);
        for good in [
            "acme.com",
            "ACME.com.",
            "bücher.example",
            "acme\u{3002}com",
            "xn--bcher-kva.example",
            "a-b.c--d.com",
            "4.acme.com",
            &format!("{label}.com"),
            &long(234),
        ] {
            assert!(domain(good).validate_cel().is_ok(), "{good}");
        }
        for (bad, says) in [
            ("ada@acme.com", "e-mail address"),
            ("https://acme.com", "URL"),
            ("acme.com:443", "port"),
            ("2001:db8::1", "an address"),
            ("*.acme.com", "wildcards"),
            ("acme.com, acme.io", "one domain"),
            ("192.0.2.7", "IP address"),
            ("com", "only one label"),
            ("com.", "only one label"),
            ("a..b.com", "two with nothing between"),
            (".acme.com", "begins with a dot"),
            ("-acme.com", "hyphen"),
            ("acme-.com", "hyphen"),
            ("acme.com-", "hyphen"),
            ("_dmarc.acme.com", "underscore"),
            (&format!("a{label}.com"), "63 characters"),
            (&long(236), "too long"),
        ] {
            let errors = format!("{:?}", domain(bad).validate_cel().unwrap_err());
            assert!(errors.contains(says), "{bad}: {errors}");
        }
    }

    #[test]
    fn domain_is_immutable_and_what_it_covers_is_not() {
        assert!(domain("b.com").validate_cel_update(&domain("a.com")).is_err());
        let mut wide = domain("a.com");
        wide.spec.include_subdomains = Some(true);
        assert!(wide.validate_cel_update(&domain("a.com")).is_ok());
    }
}
