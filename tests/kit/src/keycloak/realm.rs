//! One company's login in Keycloak: its people and groups, the clients that are Rollcall's
//! connections to it, and its signing keys.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::Admin;
use crate::browser::Browser;

/// A person of a realm.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The e-mail, which is the user name, too, and counts as verified.
    pub email: &'a str,
    /// Given name and family name, with a space between.
    pub name: &'a str,
    /// The password.
    pub password: &'a str,
}

impl User<'_> {
    /// Fills in Keycloak's sign-in page, at which the browser is or soon will be.
    ///
    /// # Errors
    /// If it isn't there.
    pub async fn sign_in(&self, browser: &Browser) -> anyhow::Result<()> {
        browser.fill("Username or email", self.email).await?;
        browser.fill("Password", self.password).await?;
        browser.click("Sign In").await
    }
}

/// What the NameID of an assertion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameIdFormat {
    /// An opaque id that stays the same for this service provider.
    Persistent,
    /// The e-mail.
    Email,
    /// Another one each time, which Rollcall refuses.
    Transient,
}

/// A SAML service provider, as Keycloak is told of it. [`SamlClient::new`] gives the usual one.
#[derive(Clone, Copy, Debug)]
pub struct SamlClient<'a> {
    /// The service provider's entity id.
    pub entity_id: &'a str,
    /// Where responses are posted to.
    pub acs_url: &'a str,
    /// Its signing certificate, PEM: requests must then be signed. Without, none is checked.
    pub signing_certificate: Option<&'a str>,
    /// Its encryption certificate, PEM: assertions are then encrypted (AES-256-GCM, RSA-OAEP).
    pub encryption_certificate: Option<&'a str>,
    /// Whether the Response is signed.
    pub sign_response: bool,
    /// Whether the Assertion is signed.
    pub sign_assertion: bool,
    /// What the NameID is.
    pub name_id: NameIdFormat,
    /// The last part of the URL at which people can begin at the IdP, if they can.
    pub idp_initiated: Option<&'a str>,
}

impl<'a> SamlClient<'a> {
    /// Signed assertions in unsigned, unencrypted responses, with a persistent NameID; requests may
    /// be unsigned, and nobody begins at the IdP.
    pub fn new(entity_id: &'a str, acs_url: &'a str) -> Self {
        Self {
            entity_id,
            acs_url,
            signing_certificate: None,
            encryption_certificate: None,
            sign_response: false,
            sign_assertion: true,
            name_id: NameIdFormat::Persistent,
            idp_initiated: None,
        }
    }
}

/// A confidential OIDC client, as Keycloak is told of it.
#[derive(Clone, Copy, Debug)]
pub struct OidcClient<'a> {
    /// The client id.
    pub id: &'a str,
    /// The client secret.
    pub secret: &'a str,
    /// The only redirect URI.
    pub redirect_uri: &'a str,
}

/// A realm of a running Keycloak.
#[derive(Clone, Debug)]
pub struct Realm {
    admin: Admin,
    name: String,
}

impl Realm {
    pub(super) async fn create(admin: Admin, name: &str) -> anyhow::Result<Self> {
        let realm = json!({"id": name, "realm": name, "enabled": true, "displayName": name});
        admin.send(Method::POST, "realms", &realm).await?;
        Ok(Self { admin, name: name.to_owned() })
    }

    /// The OIDC issuer, and the SAML entity id.
    pub fn issuer(&self) -> String {
        format!("{}/realms/{}", self.admin.url, self.name)
    }

    /// Where its SAML metadata is.
    pub fn saml_metadata_url(&self) -> String {
        format!("{}/protocol/saml/descriptor", self.issuer())
    }

    /// Where people begin at the IdP, for a [`SamlClient::idp_initiated`].
    pub fn idp_initiated_url(&self, name: &str) -> String {
        format!("{}/protocol/saml/clients/{name}", self.issuer())
    }

    /// The page on which people see their own account.
    pub fn account_url(&self) -> String {
        format!("{}/account", self.issuer())
    }

    /// Makes a person and returns their id, which is their `sub`.
    ///
    /// # Errors
    /// If there is one with that e-mail.
    pub async fn create_user(&self, user: &User<'_>) -> anyhow::Result<String> {
        let (given, family) = user.name.split_once(' ').context("a name has two parts")?;
        let user = json!({
            "username": user.email,
            "email": user.email,
            "emailVerified": true,
            "firstName": given,
            "lastName": family,
            "enabled": true,
            "credentials": [{"type": "password", "value": user.password, "temporary": false}],
        });
        self.admin.create(&self.path("users"), &user).await
    }

    /// Enables or disables a person. Their sessions at Keycloak stay.
    ///
    /// # Errors
    /// If there is no such person.
    pub async fn set_enabled(&self, user_id: &str, enabled: bool) -> anyhow::Result<()> {
        let path = self.path(&format!("users/{user_id}"));
        self.admin.send(Method::PUT, &path, &json!({"enabled": enabled})).await
    }

    /// Ends all sessions that a person has at Keycloak.
    ///
    /// # Errors
    /// If there is no such person.
    pub async fn log_out(&self, user_id: &str) -> anyhow::Result<()> {
        let path = self.path(&format!("users/{user_id}/logout"));
        self.admin.send(Method::POST, &path, &json!({})).await
    }

    /// Makes a group and returns its id.
    ///
    /// # Errors
    /// If there is one of that name.
    pub async fn create_group(&self, name: &str) -> anyhow::Result<String> {
        self.admin.create(&self.path("groups"), &json!({"name": name})).await
    }

    /// Puts a person into a group.
    ///
    /// # Errors
    /// If there is no such person or group.
    pub async fn join_group(&self, user_id: &str, group_id: &str) -> anyhow::Result<()> {
        let path = self.path(&format!("users/{user_id}/groups/{group_id}"));
        self.admin.send(Method::PUT, &path, &json!({})).await
    }

    /// Tells Keycloak of a SAML service provider, which gets the attributes `email`, `firstName`,
    /// `lastName` and `groups`.
    ///
    /// # Errors
    /// If there is one with that entity id.
    pub async fn create_saml_client(&self, client: &SamlClient<'_>) -> anyhow::Result<()> {
        let client = json!({
            "protocol": "saml",
            "clientId": client.entity_id,
            "redirectUris": [client.acs_url],
            "frontchannelLogout": true,
            "fullScopeAllowed": false,
            "protocolMappers": saml_mappers(),
            "attributes": saml_attributes(client),
        });
        self.admin.send(Method::POST, &self.path("clients"), &client).await
    }

    /// Tells Keycloak of a SAML service provider by its metadata (XML), as its console's "Import
    /// client" does, and has it send the same attributes.
    ///
    /// # Errors
    /// If Keycloak can't read the metadata, or knows that service provider.
    pub async fn import_saml_client(&self, metadata: &str) -> anyhow::Result<()> {
        let path = self.path("client-description-converter");
        let mut client = self.admin.convert(&path, metadata).await?;
        client["protocolMappers"] = saml_mappers();
        self.admin.send(Method::POST, &self.path("clients"), &client).await
    }

    /// Tells Keycloak of an OIDC client, which gets the claim `groups` besides the usual ones.
    ///
    /// # Errors
    /// If there is one with that id.
    pub async fn create_oidc_client(&self, client: &OidcClient<'_>) -> anyhow::Result<()> {
        let groups = json!({
            "name": "groups",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-group-membership-mapper",
            "config": {
                "claim.name": "groups",
                "full.path": "false",
                "id.token.claim": "true",
                "userinfo.token.claim": "true",
            },
        });
        let client = json!({
            "protocol": "openid-connect",
            "clientId": client.id,
            "secret": client.secret,
            "publicClient": false,
            "standardFlowEnabled": true,
            "redirectUris": [client.redirect_uri],
            "protocolMappers": [groups],
        });
        self.admin.send(Method::POST, &self.path("clients"), &client).await
    }

    /// Begins a rollover: a new RSA key signs from now on, and the old ones are still published.
    ///
    /// # Errors
    /// If Keycloak refuses.
    pub async fn add_signing_key(&self) -> anyhow::Result<()> {
        let newest = self.rsa_keys().await?.iter().map(priority).max().unwrap_or_default();
        let key = json!({
            "name": format!("rsa-{}", newest + 1),
            "providerType": KEY_PROVIDER,
            "providerId": RSA_SIGNING_KEY,
            "parentId": self.name,
            "config": {
                "priority": [(newest + 1).to_string()],
                "enabled": ["true"],
                "active": ["true"],
                "algorithm": ["RS256"],
                "keySize": ["2048"],
            },
        });
        self.admin.create(&self.path("components"), &key).await.map(drop)
    }

    /// Ends a rollover: all RSA signing keys but the newest are gone.
    ///
    /// # Errors
    /// If Keycloak refuses.
    pub async fn remove_old_signing_keys(&self) -> anyhow::Result<()> {
        let keys = self.rsa_keys().await?;
        let newest = keys.iter().map(priority).max().unwrap_or_default();
        for key in keys.iter().filter(|key| priority(key) < newest) {
            let id = key["id"].as_str().context("a key has no id")?;
            let path = self.path(&format!("components/{id}"));
            self.admin.send(Method::DELETE, &path, &Value::Null).await?;
        }
        Ok(())
    }

    async fn rsa_keys(&self) -> anyhow::Result<Vec<Value>> {
        let path = self.path(&format!("components?type={KEY_PROVIDER}"));
        let Value::Array(mut keys) = self.admin.get(&path).await? else { return Ok(Vec::new()) };
        keys.retain(|key| key["providerId"] == RSA_SIGNING_KEY);
        Ok(keys)
    }

    fn path(&self, path: &str) -> String {
        format!("realms/{}/{path}", self.name)
    }
}

const KEY_PROVIDER: &str = "org.keycloak.keys.KeyProvider";
const RSA_SIGNING_KEY: &str = "rsa-generated";

fn priority(key: &Value) -> u32 {
    let priority = key["config"]["priority"][0].as_str();
    priority.and_then(|priority| priority.parse().ok()).unwrap_or_default()
}

fn saml_attributes(client: &SamlClient<'_>) -> Value {
    let mut attributes = json!({
        "saml_assertion_consumer_url_post": client.acs_url,
        "saml.force.post.binding": "true",
        "saml.authnstatement": "true",
        "saml.signature.algorithm": "RSA_SHA256",
        "saml_signature_canonicalization_method": "http://www.w3.org/2001/10/xml-exc-c14n#",
        "saml.server.signature": client.sign_response.to_string(),
        "saml.assertion.signature": client.sign_assertion.to_string(),
        "saml.client.signature": client.signing_certificate.is_some().to_string(),
        "saml.encrypt": client.encryption_certificate.is_some().to_string(),
        "saml_force_name_id_format": "true",
        "saml_name_id_format": match client.name_id {
            NameIdFormat::Persistent => "persistent",
            NameIdFormat::Email => "email",
            NameIdFormat::Transient => "transient",
        },
    });
    if let Some(certificate) = client.signing_certificate {
        attributes["saml.signing.certificate"] = base64_of(certificate).into();
    }
    if let Some(certificate) = client.encryption_certificate {
        attributes["saml.encryption.certificate"] = base64_of(certificate).into();
        for (name, algorithm) in [
            ("algorithm", "http://www.w3.org/2009/xmlenc11#aes256-gcm"),
            ("keyAlgorithm", "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"),
        ] {
            attributes[format!("saml.encryption.{name}")] = algorithm.into();
        }
    }
    if let Some(name) = client.idp_initiated {
        attributes["saml_idp_initiated_sso_url_name"] = name.into();
    }
    attributes
}

/// Sends `email`, `firstName`, `lastName` and `groups`.
fn saml_mappers() -> Value {
    let properties = ["email", "firstName", "lastName"].map(|name| {
        saml_mapper(name, "saml-user-property-mapper", &json!({"user.attribute": name}))
    });
    let groups = saml_mapper(
        "groups",
        "saml-group-membership-mapper",
        &json!({"single": "true", "full.path": "false"}),
    );
    properties.into_iter().chain([groups]).collect()
}

fn saml_mapper(attribute: &str, mapper: &str, more: &Value) -> Value {
    let mut mapper = json!({
        "name": attribute,
        "protocol": "saml",
        "protocolMapper": mapper,
        "config": {"attribute.name": attribute, "attribute.nameformat": "Basic"},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        mapper["config"][name] = value.clone();
    }
    mapper
}

/// What stands between the first and the last line of a PEM file, in one line.
fn base64_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}
