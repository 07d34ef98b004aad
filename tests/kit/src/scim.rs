//! A company IdP's provisioning: a small SCIM 2.0 client.

use anyhow::{Context, bail};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Value, json};

/// Pushes people and groups to one directory.
#[derive(Clone, Debug)]
pub struct Scim {
    client: Client,
    endpoint: String,
    token: String,
}

impl Scim {
    /// `ca_pem` is whom the endpoint's certificate is trusted from.
    ///
    /// # Errors
    /// If that is no certificate.
    pub fn new(endpoint: &str, token: &str, ca_pem: &str) -> anyhow::Result<Self> {
        let ca = Certificate::from_pem(ca_pem.as_bytes()).context("reading the CA")?;
        Self::trusting([ca], endpoint, token)
    }

    /// The same for an endpoint that speaks plain HTTP.
    ///
    /// # Errors
    /// If there can be no client.
    pub fn plain(endpoint: &str, token: &str) -> anyhow::Result<Self> {
        Self::trusting([], endpoint, token)
    }

    fn trusting<const N: usize>(
        authorities: [Certificate; N],
        endpoint: &str,
        token: &str,
    ) -> anyhow::Result<Self> {
        let client = Client::builder().tls_certs_only(authorities).no_proxy().build()?;
        Ok(Self { client, endpoint: endpoint.to_owned(), token: token.to_owned() })
    }

    /// The bearer token that it pushes by.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends one request; any answer is returned. `body` null means none.
    ///
    /// # Errors
    /// If there is no answer, or one that isn't JSON.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let url = format!("{}/{path}", self.endpoint);
        let mut request = self.client.request(method, &url).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("asking {url}"))?;
        let status = response.status();
        let text = response.bytes().await?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_slice(&text)? };
        Ok((status, body))
    }

    /// Creates a user and returns its id.
    ///
    /// # Errors
    /// If it is refused: with what the endpoint said.
    pub async fn create_user(&self, user_name: &str, name: &str) -> anyhow::Result<String> {
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": user_name,
            "externalId": format!("ext-{user_name}"),
            "displayName": name,
            "emails": [{"value": user_name, "type": "work", "primary": true}],
            "active": true,
        });
        self.create("Users", &user).await
    }

    /// Creates a group of these users and returns its id.
    ///
    /// # Errors
    /// If it is refused: with what the endpoint said.
    pub async fn create_group(&self, name: &str, members: &[&str]) -> anyhow::Result<String> {
        let members: Vec<_> = members.iter().map(|id| json!({"value": id})).collect();
        let group = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
            "displayName": name,
            "members": members,
        });
        self.create("Groups", &group).await
    }

    /// Deactivates a user, in the way most IdPs do.
    ///
    /// # Errors
    /// If it is refused: with what the endpoint said.
    pub async fn deactivate(&self, id: &str) -> anyhow::Result<()> {
        let patch = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "value": {"active": false}}],
        });
        let (status, body) = self.send(Method::PATCH, &format!("Users/{id}"), &patch).await?;
        if !status.is_success() {
            bail!("deactivating: {status}: {body}");
        }
        Ok(())
    }

    async fn create(&self, path: &str, resource: &Value) -> anyhow::Result<String> {
        let (status, body) = self.send(Method::POST, path, resource).await?;
        if status != StatusCode::CREATED {
            bail!("creating in {path}: {status}: {body}");
        }
        let id = body["id"].as_str().with_context(|| format!("no id in {body}"))?;
        Ok(id.to_owned())
    }
}
