//! Each rule and bound of the kinds: what it refuses, with what it says, and what it lets pass.

use anyhow::ensure;
use rollcall_kit::{
    attempt::{
        Answer::{self, Refused, Taken},
        Attempt, answers,
    },
    stage::installed,
};
use serde_json::json;

use super::{object, served};

/// Tries to create an object of the kind with each spec.
async fn specs(kind: &str, cases: &[(&str, Answer<'_>)]) -> anyhow::Result<()> {
    let client = installed().await?.client().await?;
    let attempts = cases.iter().map(|(spec, answer)| {
        let start: String = spec.chars().take(200).collect();
        Ok((start, Attempt::create(&object(kind, "default", "tried", spec)?), *answer))
    });
    answers(&client, attempts.collect::<anyhow::Result<Vec<_>>>()?).await
}

/// Tries to create an object of the kind with each name.
async fn names(kind: &str, spec: &str, cases: &[(&str, Answer<'_>)]) -> anyhow::Result<()> {
    let client = installed().await?.client().await?;
    let attempts = cases.iter().map(|(name, answer)| {
        Ok((*name, Attempt::create(&object(kind, "default", name, spec)?), *answer))
    });
    answers(&client, attempts.collect::<anyhow::Result<Vec<_>>>()?).await
}

/// `[<item 0>, <item 1>, ..]`
fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    format!("[{}]", (0..count).map(item).collect::<Vec<_>>().join(", "))
}

fn permissions(count: usize) -> String {
    list(count, |i| format!("{{name: p{i}, clusterRole: view}}"))
}

#[tokio::test]
async fn a_domain_is_refused_with_what_to_write_instead() -> anyhow::Result<()> {
    const EMAIL: &str = "write the domain alone, acme.com, not an e-mail address";
    const URL: &str = "write the domain alone, acme.com, not a URL, a port or an address";
    const ONE: &str = "write one domain, without spaces or commas";
    const LABEL: &str = "this has only one label";
    const DOTS: &str = "it begins with a dot, or has two with nothing between them";
    const HYPHEN: &str = "no part of a domain name begins or ends with a hyphen";
    let long = |length: usize| format!("{{domain: {}co}}", "a.".repeat(length / 2 - 1));
    specs(
        "VerifiedDomain",
        &[
            ("{domain: ACME.com.}", Taken),
            ("{domain: bücher.example}", Taken),
            ("{domain: acme。com}", Taken),
            ("{domain: xn--bcher-kva.example}", Taken),
            ("{domain: acme.com, suspend: null}", Taken),
            ("{domain: acme.com, includeSubdomains: false}", Taken),
            ("{domain: ada@acme.com}", Refused(EMAIL)),
            ("{domain: '@acme.com'}", Refused(EMAIL)),
            ("{domain: 'https://acme.com'}", Refused(URL)),
            ("{domain: acme.com/}", Refused(URL)),
            ("{domain: 'acme.com:443'}", Refused(URL)),
            ("{domain: '2001:db8::1'}", Refused(URL)),
            (
                "{domain: 192.0.2.7}",
                Refused("write a domain name like acme.com, not an IP address"),
            ),
            ("{domain: '*.acme.com'}", Refused("wildcards can't be proved")),
            ("{domain: 'acme.com,acme.io'}", Refused(ONE)),
            ("{domain: 'acme.com acme.io'}", Refused(ONE)),
            ("{domain: \"acme.com\\n\"}", Refused(ONE)),
            ("{domain: \"acme.com\\u00a0\"}", Refused(ONE)),
            ("{domain: com}", Refused(LABEL)),
            ("{domain: com.}", Refused(LABEL)),
            ("{domain: a..b.com}", Refused(DOTS)),
            ("{domain: .acme.com}", Refused(DOTS)),
            ("{domain: '-acme.com'}", Refused(HYPHEN)),
            ("{domain: acme-.com}", Refused(HYPHEN)),
            ("{domain: _dmarc.acme.com}", Refused("without an underscore")),
            (
                &format!("{{domain: {}.com}}", "a".repeat(64)),
                Refused("no part of a domain name is longer than 63 characters"),
            ),
            ("{domain: ''}", Refused("should be at least 1 chars long")),
            (&long(234), Taken),
            (&long(236), Refused("too long to put _rollcall-challenge before it")),
            (&long(256), Refused("may not be more than 254 bytes")),
            ("{domain: acme.com, includeSubdomains: 'yes'}", Refused("must be of type boolean")),
            ("{}", Refused("spec.domain: Required value")),
            ("{domain: null}", Refused("spec.domain: Required value")),
            ("{domain: acme.com, suspend: 'yes'}", Refused("must be of type boolean")),
        ],
    )
    .await
}

#[tokio::test]
async fn the_domain_of_a_verified_domain_stays() -> anyhow::Result<()> {
    let control_plane = served("api-domain").await?;
    let client = control_plane.client().await?;
    let domain = object("VerifiedDomain", "api-domain", "acme", "{domain: acme.com}")?;
    control_plane.kubectl_apply(&domain.to_string()).await?;
    let change = |domain| json!({"spec": {"domain": domain}});
    let says = "domain can't be changed: make another VerifiedDomain and delete this one";
    answers(
        &client,
        [
            ("the same", Attempt::merge(&domain, change("acme.com")), Taken),
            ("another", Attempt::merge(&domain, change("acme.io")), Refused(says)),
            ("in capitals", Attempt::merge(&domain, change("ACME.com")), Refused(says)),
        ],
    )
    .await?;
    let find = ["get", "vd", "-n", "api-domain", "-o=name", "--field-selector"];
    let found = control_plane.kubectl(&[&find[..], &["spec.domain=acme.com"]].concat()).await?;
    ensure!(found.trim() == "verifieddomain.rollcall.dev/acme", "{found}");
    let found = control_plane.kubectl(&[&find[..], &["spec.domain=acme.io"]].concat()).await?;
    ensure!(found.is_empty(), "{found}");
    Ok(())
}

#[tokio::test]
async fn a_connection_takes_its_metadata_from_exactly_one_place() -> anyhow::Result<()> {
    const PLACE: &str = "give either metadataURL or metadata, not both";
    const HAND: &str = "give either secretRef or inline, not both";
    const HTTPS: &str = "write a full URL that begins with https://";
    let domains = |count| {
        let domains = list(count, |i| format!("{{name: d{i}}}"));
        format!("{{domains: {domains}, saml: {{metadata: {{inline: x}}}}}}")
    };
    let inline = |length| format!("{{saml: {{metadata: {{inline: {}}}}}}}", "x".repeat(length));
    let url = |length: usize| {
        format!("{{saml: {{metadataURL: 'https://idp.example/{}'}}}}", "x".repeat(length - 20))
    };
    specs(
        "SsoConnection",
        &[
            ("{saml: {metadata: {secretRef: {name: okta}}}}", Taken),
            ("{saml: {metadata: {inline: '<x/>'}}}", Taken),
            ("{saml: {metadataURL: 'https://idp.example:8443'}}", Taken),
            ("{saml: {metadataURL: null, metadata: {inline: x}}}", Taken),
            ("{saml: {metadata: null, metadataURL: 'https://idp.example'}}", Taken),
            ("{saml: {metadata: {secretRef: null, inline: x}}}", Taken),
            ("{domains: [], saml: {metadata: {inline: x}}}", Taken),
            ("{domains: null, saml: {metadata: {inline: x}}}", Taken),
            ("{}", Refused("give either saml or oidc, not both")),
            ("{saml: {}}", Refused(PLACE)),
            ("{saml: {metadata: null}}", Refused(PLACE)),
            ("{saml: {metadataURL: 'https://idp.example', metadata: {inline: x}}}", Refused(PLACE)),
            ("{saml: {metadata: {}}}", Refused(HAND)),
            ("{saml: {metadata: {secretRef: {name: okta}, inline: x}}}", Refused(HAND)),
            ("{saml: {metadata: {secretRef: {}}}}", Refused("secretRef.name: Required value")),
            (
                "{saml: {metadata: {secretRef: {name: ''}}}}",
                Refused("should be at least 1 chars long"),
            ),
            ("{saml: {metadata: {inline: ''}}}", Refused("should be at least 1 chars long")),
            (&inline(262_145), Refused("may not be more than 262144 bytes")),
            ("{saml: {metadataURL: 'http://idp.example'}}", Refused(HTTPS)),
            ("{saml: {metadataURL: idp.example/metadata}}", Refused(HTTPS)),
            ("{saml: {metadataURL: 'HTTP://idp.example'}}", Refused(HTTPS)),
            ("{saml: {metadataURL: 'file:///etc/passwd'}}", Refused(HTTPS)),
            ("{saml: {metadataURL: 'https:idp.example'}}", Refused(HTTPS)),
            ("{saml: {metadataURL: 'https://'}}", Refused(HTTPS)),
            ("{saml: {metadataURL: 'https:///metadata'}}", Refused(HTTPS)),
            ("{saml: {metadataURL: ''}}", Refused(HTTPS)),
            (&url(2048), Taken),
            (&url(2049), Refused("may not be more than 2048 bytes")),
            (&domains(256), Taken),
            (&domains(257), Refused("must have at most 256 items")),
            (
                "{domains: [{name: a}, {name: a}], saml: {metadata: {inline: x}}}",
                Refused("Duplicate value"),
            ),
            (
                "{domains: [acme-com], saml: {metadata: {inline: x}}}",
                Refused("must be of type object"),
            ),
        ],
    )
    .await
}

#[tokio::test]
async fn a_connection_names_its_openid_provider_and_whom_it_lets_in() -> anyhow::Result<()> {
    const ONE: &str = "give either saml or oidc, not both";
    const ISSUER: &str = "a full URL that begins with https://, without ? and #";
    const LASTS: &str = "write how long, from 5m to 168h, for example 12h or 1h30m";
    let oidc =
        |oidc: &str| format!("{{oidc: {{clientID: a, clientSecretRef: {{name: a}}, {oidc}}}}}");
    let issuer = |issuer: &str| oidc(&format!("issuer: '{issuer}'"));
    let scopes = |scopes: &str| oidc(&format!("issuer: 'https://idp.example', scopes: {scopes}"));
    let saml = |more: &str| format!("{{saml: {{metadata: {{inline: x}}}}, {more}}}");
    let lasts = |long: &str| saml(&format!("signIn: {{sessionDuration: '{long}'}}"));
    let begins = "signIn: {idpInitiated: true}";
    let of = "oidc: {issuer: 'https://a', clientID: a, clientSecretRef: {name: a}}";
    specs(
        "SsoConnection",
        &[
            (&issuer("https://login.microsoftonline.com/tenant/v2.0"), Taken),
            (&issuer("https://idp.example/"), Taken),
            (&issuer("http://idp.example"), Refused(ISSUER)),
            (&issuer("idp.example"), Refused(ISSUER)),
            (&issuer("https://"), Refused(ISSUER)),
            (&issuer("https://idp.example?tenant=a"), Refused(ISSUER)),
            (&issuer("https://idp.example#a"), Refused(ISSUER)),
            (&issuer(&format!("https://{}", "a".repeat(1017))), Refused("1024 bytes")),
            (&scopes("[]"), Taken),
            (&scopes("[email, 'https://a.example/read']"), Taken),
            (&scopes("['email profile']"), Refused("scopes[0]")),
            (&scopes("[email, email]"), Refused("Duplicate value")),
            (&scopes(&list(17, |i| format!("s{i}"))), Refused("must have at most 16 items")),
            ("{oidc: {issuer: 'https://a'}}", Refused("clientID: Required value")),
            (&saml(of), Refused(ONE)),
            (&saml(begins), Taken),
            (&format!("{{{of}, {begins}}}"), Refused("idpInitiated is for saml alone")),
            (&format!("{{{of}, signIn: {{idpInitiated: false}}}}"), Taken),
            (&saml("admit: JustInTime"), Taken),
            (&saml("admit: null"), Taken),
            (&saml("admit: Everybody"), Refused("Unsupported value: \"Everybody\"")),
            (&saml("directory: {name: okta, match: externalId}"), Taken),
            (&saml("directory: {name: okta, match: null}"), Taken),
            (&saml("directory: {name: okta, match: name}"), Refused("Unsupported value: \"name\"")),
            (&saml("directory: {match: email}"), Refused("directory.name: Required value")),
            (&saml("attributes: {email: mail, name: cn}"), Taken),
            (&saml("attributes: {email: ''}"), Refused("should be at least 1 chars long")),
            (&lasts("5m"), Taken),
            (&lasts("1h30m"), Taken),
            (&lasts("168h"), Taken),
            (&lasts("299s"), Refused(LASTS)),
            (&lasts("168h1s"), Refused(LASTS)),
            (&lasts("7d"), Refused(LASTS)),
            (&lasts(""), Refused(LASTS)),
        ],
    )
    .await
}

#[tokio::test]
async fn the_protocol_and_the_issuer_of_a_connection_stay() -> anyhow::Result<()> {
    let control_plane = served("api-protocol").await?;
    let client = control_plane.client().await?;
    let spec = "{oidc: {issuer: 'https://a', clientID: a, clientSecretRef: {name: a}}}";
    let oidc = object("SsoConnection", "api-protocol", "oidc", spec)?;
    control_plane.kubectl_apply(&oidc.to_string()).await?;
    let saml = json!({"spec": {"oidc": null, "saml": {"metadata": {"inline": "x"}}}});
    let issuer = json!({"spec": {"oidc": {"issuer": "https://b"}}});
    let client_id = json!({"spec": {"oidc": {"clientID": "b"}}});
    let make = "make another SsoConnection and delete this one";
    answers(
        &client,
        [
            ("to SAML", Attempt::merge(&oidc, saml), Refused(make)),
            ("another issuer", Attempt::merge(&oidc, issuer), Refused(make)),
            ("another client id", Attempt::merge(&oidc, client_id), Taken),
        ],
    )
    .await
}

#[tokio::test]
async fn names_that_become_parts_of_urls_and_groups_are_bounded() -> anyhow::Result<()> {
    const URL: &str = "the name is part of URLs: at most 63 characters";
    const GROUP: &str = "the name is part of a Kubernetes group: lower-case letters, digits and \
                         hyphens, at most 63 characters";
    let (fits, long) = ("a".repeat(63), "a".repeat(64));
    let url = [(&*fits, Taken), ("okta.v2", Taken), (&*long, Refused(URL))];
    names("SsoConnection", "{saml: {metadata: {inline: x}}}", &url).await?;
    names("DirectorySync", "{source: {scim: {}}}", &url).await?;
    let group = [
        (&*fits, Taken),
        ("a", Taken),
        ("1-a", Taken),
        (&*long, Refused(GROUP)),
        ("site.reliability", Refused(GROUP)),
        // the API server's own rule
        ("Engineering", Refused("a lowercase RFC 1123 subdomain")),
    ];
    names("DirectoryTeam", "{directorySyncRef: {name: d}, group: {id: '1'}}", &group).await
}

#[tokio::test]
async fn a_directory_names_its_source_and_what_it_imports() -> anyhow::Result<()> {
    const SOURCE: &str = "name the source: scim: {}";
    let import = |import: &str| format!("{{source: {{scim: {{}}}}, teams: {{import: {import}}}}}");
    let permitted = |list: &str| import(&format!("{{include: ['*'], permissions: {list}}}"));
    let with = |more: &str| format!("{{source: {{scim: {{}}}}, {more}}}");
    let patterns = |count| list(count, |i| format!("p{i}"));
    let twice = "[{name: a, clusterRole: view}, {name: a, clusterRole: edit}]";
    specs(
        "DirectorySync",
        &[
            ("{source: {scim: {}}}", Taken),
            ("{source: {scim: {}}, teams: {}}", Taken),
            ("{source: {scim: {}}, teams: null}", Taken),
            (&import("{include: []}"), Taken),
            (&import("null"), Taken),
            (&import("{include: [a], permissions: []}"), Taken),
            (&permitted(&permissions(12)), Taken),
            ("{}", Refused("spec.source: Required value")),
            ("{source: {}}", Refused(SOURCE)),
            ("{source: {scim: null}}", Refused(SOURCE)),
            (&import("{}"), Refused("include: Required value")),
            (&import("{exclude: [a]}"), Refused("include: Required value")),
            (&import("{include: [a, a]}"), Refused("Duplicate value")),
            (&import("{include: ['']}"), Refused("should be at least 1 chars long")),
            (&import("{include: [null]}"), Refused("must be of type string")),
            (&import(&format!("{{include: {}}}", patterns(64))), Taken),
            (
                &import(&format!("{{include: {}}}", patterns(65))),
                Refused("must have at most 64 items"),
            ),
            (&permitted(&permissions(13)), Refused("must have at most 12 items")),
            (&permitted(twice), Refused("Duplicate value")),
            (&permitted("[{name: a}]"), Refused("clusterRole: Required value")),
            (&with("groups: {}"), Taken),
            (&with("groups: {include: [], exclude: ['*']}"), Taken),
            (&with("groups: ['*']"), Refused("must be of type object")),
            (&with("groups: {include: ['*', '*']}"), Refused("Duplicate value")),
            (
                &with(&format!("groups: {{exclude: {}}}", patterns(65))),
                Refused("must have at most 64 items"),
            ),
            (&with("removal: {}"), Taken),
            (&with("removal: {maxPercent: 0, maxCount: 0, window: 168h}"), Taken),
            (&with("removal: {maxPercent: 101}"), Refused("should be less than or equal to 100")),
            (&with("removal: {maxCount: -1}"), Refused("should be greater than or equal to 0")),
            (&with("removal: {maxCount: many}"), Refused("must be of type integer")),
            (&with("removal: {window: 1d}"), Refused("write how long, from 1m to 168h")),
            (&with("removal: {window: 59s}"), Refused("write how long, from 1m to 168h")),
            ("{source: {scim: {tokenOverlap: 0s}}}", Taken),
            (
                "{source: {scim: {tokenOverlap: 720h1s}}}",
                Refused("write how long, from 0s to 720h"),
            ),
            ("{source: {scim: {tokenOverlap: ''}}}", Refused("write how long, from 0s to 720h")),
            ("{source: {scim: {tokenOverlap: 24}}}", Refused("must be of type string")),
        ],
    )
    .await
}

#[tokio::test]
async fn a_team_names_one_group_and_bounded_permissions() -> anyhow::Result<()> {
    const ONE: &str = "name the group by exactly one of id, displayName and externalId";
    const WHERE: &str = "say where by at most one of namespaces, namespaceSelector and cluster";
    const END: &str = "spec.permissions[0].expiresAt in body should match";
    const OPERATOR: &str = "write each operator as In or NotIn with values";
    let group = |group: &str| format!("{{directorySyncRef: {{name: d}}, group: {group}}}");
    let permitted = |permissions: &str| {
        format!("{{directorySyncRef: {{name: d}}, group: {{id: '1'}}, permissions: {permissions}}}")
    };
    let named = |name: &str| permitted(&format!("[{{name: '{name}', clusterRole: view}}]"));
    let within = |namespaces: &str| {
        permitted(&format!("[{{name: a, clusterRole: view, namespaces: {namespaces}}}]"))
    };
    let of = |place: &str| permitted(&format!("[{{name: a, clusterRole: view, {place}}}]"));
    let selects = |operator: &str| {
        let expression = format!("{{key: a, operator: {operator}}}");
        of(&format!("namespaceSelector: {{matchExpressions: [{expression}]}}"))
    };
    let namespaces = |count| within(&list(count, |i| format!("n{i}")));
    let pattern = "spec.permissions[0].name: Invalid value";
    specs(
        "DirectoryTeam",
        &[
            (&group("{id: '1'}"), Taken),
            (&group("{externalId: '1'}"), Taken),
            (&group("{id: null, displayName: Engineering}"), Taken),
            (&group("{}"), Refused(ONE)),
            (&group("{id: null}"), Refused(ONE)),
            (&group("{id: '1', displayName: Engineering}"), Refused(ONE)),
            (&group("{displayName: Engineering, externalId: '1'}"), Refused(ONE)),
            (&group("{id: '1', displayName: Engineering, externalId: '1'}"), Refused(ONE)),
            (&group("{displayName: ''}"), Refused("should be at least 1 chars long")),
            (
                &group(&format!("{{displayName: {}}}", "x".repeat(257))),
                Refused("may not be more than 256 bytes"),
            ),
            ("{group: {id: '1'}}", Refused("spec.directorySyncRef: Required value")),
            ("{directorySyncRef: {name: d}}", Refused("spec.group: Required value")),
            (&permitted("[]"), Taken),
            (&permitted("null"), Taken),
            (&permitted(&permissions(12)), Taken),
            (&permitted(&permissions(13)), Refused("must have at most 12 items")),
            (&permitted("[{name: a}]"), Refused("clusterRole: Required value")),
            (&permitted("[{clusterRole: view}]"), Refused("name: Required value")),
            (
                &permitted("[{name: a, clusterRole: view}, {name: a, clusterRole: edit}]"),
                Refused("Duplicate value"),
            ),
            (&named(&"a".repeat(63)), Taken),
            (&named(&"a".repeat(64)), Refused("may not be more than 63 bytes")),
            (&named("Developers"), Refused(pattern)),
            (&named("a.b"), Refused(pattern)),
            (&named("-a"), Refused(pattern)),
            (&named("a-"), Refused(pattern)),
            (&named(""), Refused(pattern)),
            (&within("[]"), Taken),
            (&within("null"), Taken),
            (&namespaces(64), Taken),
            (&namespaces(65), Refused("must have at most 64 items")),
            (&within("['']"), Refused("should be at least 1 chars long")),
            (&within("[web, web]"), Refused("Duplicate value")),
            (&of("namespaceSelector: {}"), Taken),
            (&of("cluster: true"), Taken),
            (&of("cluster: false, namespaces: [web]"), Taken),
            (&of("namespaces: [], namespaceSelector: {}"), Refused(WHERE)),
            (&of("namespaces: [], cluster: true"), Refused(WHERE)),
            (&of("namespaceSelector: {}, cluster: true"), Refused(WHERE)),
            (&of("cluster: 'yes'"), Refused("must be of type boolean")),
            (&selects("In, values: [b]"), Taken),
            (&selects("DoesNotExist"), Taken),
            (&selects("In"), Refused(OPERATOR)),
            (&selects("Exists, values: [b]"), Refused(OPERATOR)),
            (&selects("Like, values: [b]"), Refused(OPERATOR)),
            (
                &selects(&format!("In, values: {}", list(65, |i| format!("v{i}")))),
                Refused("must have at most 64 items"),
            ),
            (&of("expiresAt: '2026-12-31T00:00:00Z'"), Taken),
            (&of("expiresAt: '2999-12-31T23:59:59Z'"), Taken),
            (&of("expiresAt: '2026-12-31T00:00:00+02:00'"), Refused(END)),
            (&of("expiresAt: '2026-12-31T00:00:00.5Z'"), Refused(END)),
            (&of("expiresAt: '9999-12-31T23:59:59Z'"), Refused(END)),
            (&of("expiresAt: tomorrow"), Refused(END)),
            (&of("expiresAt: '2026-02-30T00:00:00Z'"), Refused("must be of type date-time")),
            (&of("expiresAt: '2026-12-31T24:00:00Z'"), Refused("must be of type date-time")),
        ],
    )
    .await
}

#[tokio::test]
async fn the_directory_of_a_team_stays() -> anyhow::Result<()> {
    let control_plane = served("api-team").await?;
    let client = control_plane.client().await?;
    let spec = "{directorySyncRef: {name: okta}, group: {displayName: Engineering}}";
    let team = object("DirectoryTeam", "api-team", "engineering", spec)?;
    control_plane.kubectl_apply(&team.to_string()).await?;
    let directory = |name| json!({"spec": {"directorySyncRef": {"name": name}}});
    let group = json!({"spec": {"group": {"displayName": null, "id": "1"}}});
    let says = "directorySyncRef can't be changed: make another DirectoryTeam and delete this one";
    answers(
        &client,
        [
            ("the same", Attempt::merge(&team, directory("okta")), Taken),
            ("another", Attempt::merge(&team, directory("entra")), Refused(says)),
            ("another group", Attempt::merge(&team, group), Taken),
        ],
    )
    .await
}

#[tokio::test]
async fn a_class_names_its_provider() -> anyhow::Result<()> {
    const PROVIDER: &str = "name the provider: builtin: {}";
    let roles =
        |roles: &str| format!("{{provider: {{builtin: {{}}}}, grantableClusterRoles: {roles}}}");
    let many = |count| roles(&list(count, |i| format!("r{i}")));
    const SUFFIX: &str = "write each name in lower case, Unicode as xn--, without a dot before";
    let domains = |domains: &str| format!("{{provider: {{builtin: {{}}}}, domains: {domains}}}");
    let denied = |count| {
        let names = list(count, |i| format!("a{i}.{}.com", "a".repeat(60)));
        domains(&format!("{{deny: {names}}}"))
    };
    let select =
        |selector: &str| format!("{{provider: {{builtin: {{}}}}, namespaceSelector: {selector}}}");
    specs(
        "IdentityClass",
        &[
            ("{provider: {builtin: {}}}", Taken),
            (
                "{provider: {builtin: {}}, namespaceSelector: null, grantableClusterRoles: null}",
                Taken,
            ),
            (&roles("[]"), Taken),
            ("{}", Refused("spec.provider: Required value")),
            ("{provider: {}}", Refused(PROVIDER)),
            ("{provider: {builtin: null}}", Refused(PROVIDER)),
            (&many(64), Taken),
            (&many(65), Refused("must have at most 64 items")),
            (&roles("[view, view]"), Refused("Duplicate value")),
            (&roles("['']"), Refused("should be at least 1 chars long")),
            (&domains("{}"), Taken),
            (&domains("{allow: [], deny: [com, acme.co.uk, xn--bcher-kva.example]}"), Taken),
            (&domains("{deny: [.acme.com]}"), Refused(SUFFIX)),
            (&domains("{allow: [ACME.com]}"), Refused(SUFFIX)),
            (&domains("{allow: ['*.acme.com']}"), Refused(SUFFIX)),
            (&domains("{deny: [com, com]}"), Refused("Duplicate value")),
            (&denied(256), Taken),
            (&denied(257), Refused("must have at most 256 items")),
            (&domains("{allowSpecialUse: 'yes'}"), Refused("must be of type boolean")),
            (&select("{}"), Taken),
            (&select("{matchExpressions: [{key: a, operator: In, values: [b]}]}"), Taken),
            (&select("{matchLabels: [a]}"), Refused("must be of type object")),
        ],
    )
    .await
}

#[tokio::test]
async fn the_clients_of_a_class_send_people_back_only_to_https_and_their_own_machine()
-> anyhow::Result<()> {
    const URI: &str = "write each as a full URL without #, that begins with https://";
    const LIVES: &str = "write how long, from 1m to 1h, for example 5m";
    let builtin = |builtin: &str| format!("{{provider: {{builtin: {{{builtin}}}}}}}");
    let lives = |long: &str| builtin(&format!("tokenLifetime: '{long}'"));
    let clients = |clients: &str| builtin(&format!("clients: {clients}"));
    let named =
        |id: &str| clients(&format!("[{{id: '{id}', redirectURIs: ['https://a.example']}}]"));
    let uri = |uri: &str| clients(&format!("[{{id: argocd, redirectURIs: ['{uri}']}}]"));
    let many = |count| {
        clients(&list(count, |i| format!("{{id: c{i}, redirectURIs: ['https://a.example']}}")))
    };
    let uris = |count| {
        let uris = list(count, |i| format!("'https://a.example/{i}'"));
        clients(&format!("[{{id: argocd, redirectURIs: {uris}}}]"))
    };
    let one = "id: argocd, redirectURIs: ['https://a.example']";
    specs(
        "IdentityClass",
        &[
            (&clients("[]"), Taken),
            (&many(32), Taken),
            (&many(33), Refused("must have at most 32 items")),
            (&named("argo-cd.v2_a"), Taken),
            (&named("kubernetes"), Refused("the client kubernetes is always there")),
            (&named("argo cd"), Refused("clients[0].id")),
            (&clients(&format!("[{{{one}}}, {{{one}}}]")), Refused("Duplicate value")),
            (&clients(&format!("[{{{one}, secretRef: {{name: a}}, namespaces: []}}]")), Taken),
            (&uris(16), Taken),
            (&uris(17), Refused("must have at most 16 items")),
            (&uris(0), Refused("should have at least 1 items")),
            (&uri("https://argocd.example/auth/callback?a=b"), Taken),
            (&uri("http://localhost:8085/auth/callback"), Taken),
            (&uri("http://127.0.0.1/callback"), Taken),
            (&uri("http://[::1]:8085/callback"), Taken),
            (&uri("http://argocd.example/callback"), Refused(URI)),
            (&uri("http://localhost.evil.example/"), Refused(URI)),
            (&uri("http://localhost@evil.example/"), Refused(URI)),
            (&uri("https://argocd.example/#callback"), Refused(URI)),
            (&uri("https://"), Refused(URI)),
            (&uri("argocd.example"), Refused(URI)),
            (&uri("javascript:alert(1)"), Refused(URI)),
            (&uri(""), Refused(URI)),
            (&lives("1m"), Taken),
            (&lives("1h"), Taken),
            (&lives("59s"), Refused(LIVES)),
            (&lives("1h1s"), Refused(LIVES)),
            (&lives(""), Refused(LIVES)),
        ],
    )
    .await
}
