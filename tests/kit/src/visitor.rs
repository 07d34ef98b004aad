//! Somebody with a browser, without the browser: follows links and redirects, keeps cookies, fills in
//! forms. Nothing here runs scripts, so what works for a visitor needs none.

use anyhow::{Context, bail, ensure};
use reqwest::{Client, StatusCode, header, redirect::Policy};
use url::Url;

/// How many redirects are followed in a row.
const MAX_REDIRECTS: usize = 20;

/// One browser, with its cookies.
pub struct Visitor {
    client: Client,
}

/// What a browser shows.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub html: String,
}

/// Where a visitor ends up.
enum End {
    Shown(Page),
    /// Where they didn't go.
    Stopped(Url),
}

impl End {
    fn stopped(self) -> anyhow::Result<Url> {
        match self {
            Self::Stopped(url) => Ok(url),
            Self::Shown(page) => bail!("{} is the end: {} {}", page.url, page.status, page.html),
        }
    }
}

/// A form of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Where it is sent.
    pub action: Url,
    pub post: bool,
    /// Its fields and their values, in order.
    pub fields: Vec<(String, String)>,
}

impl Visitor {
    /// A new browser that trusts this CA (PEM).
    ///
    /// # Errors
    /// If the CA is none.
    pub fn new(ca_pem: &str) -> anyhow::Result<Self> {
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes())?;
        let client = Client::builder()
            .tls_certs_only([ca])
            .cookie_store(true)
            .redirect(Policy::none())
            .user_agent("Mozilla/5.0 (a visitor)")
            .build()?;
        Ok(Self { client })
    }

    /// Goes to a URL and wherever it leads.
    ///
    /// # Errors
    /// If nothing answers, or it leads nowhere.
    pub async fn visit(&self, url: &str) -> anyhow::Result<Page> {
        self.follow(Url::parse(url)?, None).await
    }

    /// Goes to a URL and wherever it leads, but not to where `stop` says; there it only looks at
    /// the address.
    ///
    /// # Errors
    /// If nothing answers, or it leads elsewhere.
    pub async fn visit_until(&self, url: &str, stop: impl Fn(&Url) -> bool) -> anyhow::Result<Url> {
        self.go(Url::parse(url)?, None, stop).await?.stopped()
    }

    /// Sends the page's first form, with these values in place of its own.
    ///
    /// # Errors
    /// If nothing answers, or it leads nowhere.
    pub async fn submit(&self, page: &Page, fields: &[(&str, &str)]) -> anyhow::Result<Page> {
        let (url, response) = self.send(page, fields).await?;
        self.follow(url, Some(response)).await
    }

    /// The same, but doesn't go to where `stop` says; there it only looks at the address.
    ///
    /// # Errors
    /// If nothing answers, or it leads elsewhere.
    pub async fn submit_until(
        &self,
        page: &Page,
        fields: &[(&str, &str)],
        stop: impl Fn(&Url) -> bool,
    ) -> anyhow::Result<Url> {
        let (url, response) = self.send(page, fields).await?;
        self.go(url, Some(response), stop).await?.stopped()
    }

    /// Posts a form that is on no page of ours, as the page of another site does.
    ///
    /// # Errors
    /// If nothing answers, or it leads nowhere.
    pub async fn post(&self, url: &str, fields: &[(String, String)]) -> anyhow::Result<Page> {
        let url = Url::parse(url)?;
        let request = self.client.post(url.clone()).form(fields);
        let request = request.header("Sec-Fetch-Site", "cross-site").header(header::ORIGIN, "null");
        let response = request.send().await?;
        self.follow(url, Some(response)).await
    }

    async fn send(
        &self,
        page: &Page,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<(Url, reqwest::Response)> {
        let mut form = page.form()?;
        for (name, value) in fields {
            match form.fields.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => (*value).clone_into(known),
                None => form.fields.push(((*name).to_owned(), (*value).to_owned())),
            }
        }
        let site =
            if form.action.origin() == page.url.origin() { "same-origin" } else { "cross-site" };
        let request = if form.post {
            self.client.post(form.action.clone()).form(&form.fields)
        } else {
            self.client.get(form.action.clone()).query(&form.fields)
        };
        let response = request
            .header("Sec-Fetch-Site", site)
            .header(header::ORIGIN, page.url.origin().ascii_serialization())
            .send()
            .await?;
        Ok((form.action, response))
    }

    async fn follow(&self, url: Url, response: Option<reqwest::Response>) -> anyhow::Result<Page> {
        match self.go(url, response, |_| false).await? {
            End::Shown(page) => Ok(page),
            End::Stopped(url) => bail!("stopped at {url}"),
        }
    }

    /// Follows redirects, of pages too, until a page is shown or the next address is where to stop.
    async fn go(
        &self,
        mut url: Url,
        mut response: Option<reqwest::Response>,
        stop: impl Fn(&Url) -> bool,
    ) -> anyhow::Result<End> {
        for _ in 0..MAX_REDIRECTS {
            let answer = match response.take() {
                Some(answer) => answer,
                None => self.client.get(url.clone()).send().await?,
            };
            let next = match next(&url, &answer)? {
                Some(next) => next,
                None => {
                    let status = answer.status();
                    let page = Page { url, status, html: answer.text().await? };
                    match page.refresh()? {
                        Some(next) => next,
                        None => return Ok(End::Shown(page)),
                    }
                }
            };
            if stop(&next) {
                return Ok(End::Stopped(next));
            }
            url = next;
        }
        bail!("{url} redirects without end")
    }
}

/// Where a response leads on.
fn next(url: &Url, response: &reqwest::Response) -> anyhow::Result<Option<Url>> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION).context("a redirect to nowhere")?;
    Ok(Some(url.join(location.to_str()?)?))
}

impl Page {
    /// The page's first form.
    ///
    /// # Errors
    /// If it has none.
    pub fn form(&self) -> anyhow::Result<Form> {
        let html = &self.html;
        let start =
            html.find("<form").with_context(|| format!("no form on {}: {html}", self.url))?;
        let end = html[start..].find("</form>").map_or(html.len(), |end| start + end);
        let form = &html[start..end];
        let tag = tag(form)?;
        let action = attribute(tag, "action").unwrap_or_default();
        let mut fields = vec![];
        for (at, _) in form.match_indices("<input") {
            let input = self::tag(&form[at..])?;
            if let Some(name) = attribute(input, "name") {
                fields.push((name, attribute(input, "value").unwrap_or_default()));
            }
        }
        let post = attribute(tag, "method").is_some_and(|m| m.eq_ignore_ascii_case("post"));
        Ok(Form { action: self.url.join(&action)?, post, fields })
    }

    /// Where the page says it goes on at once.
    ///
    /// # Errors
    /// If that is no address.
    pub fn refresh(&self) -> anyhow::Result<Option<Url>> {
        let Some((_, rest)) = self.html.split_once("<meta http-equiv=\"refresh\"") else {
            return Ok(None);
        };
        let content = attribute(tag(rest)?, "content").unwrap_or_default();
        Ok(content.split_once("url=").map(|(_, url)| self.url.join(url)).transpose()?)
    }

    /// Fails unless the page was shown as asked for and has this text.
    ///
    /// # Errors
    /// It is an error page, or says something else.
    pub fn says(&self, text: &str) -> anyhow::Result<()> {
        let Self { url, status, html } = self;
        ensure!(
            status.is_success() && html.contains(text),
            "no {text:?} at {url}: {status} {html}"
        );
        Ok(())
    }
}

/// The text of the tag that `html` begins with.
fn tag(html: &str) -> anyhow::Result<&str> {
    Ok(&html[..html.find('>').context("a tag without end")?])
}

/// An attribute's value, its entities read.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    let read = |text: String, (entity, character): (&str, &str)| text.replace(entity, character);
    Some(entities.into_iter().fold(value.to_owned(), read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_a_browser_reads_it() {
        let page = Page {
            url: "https://login.example/sign-in?flow=1".parse().unwrap(),
            status: StatusCode::OK,
            html: r#"<form method="post" action="/sign-in"><input type="hidden" name="flow" value="a&amp;b"><input name="email"></form><form><input name="other"></form>"#
                .into(),
        };
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            page.form().unwrap(),
            Form {
                action: "https://login.example/sign-in".parse().unwrap(),
                post: true,
                fields: vec![field("flow", "a&b"), field("email", "")],
            }
        );
    }
}
