//! The browser: a real one, that shows what a person would see, and leaves nothing behind.

use std::{fs, path::Path, time::Duration};

use anyhow::ensure;
use axum::{Router, response::Html, routing::get};
use rollcall_kit::{
    browser::Browser, install_crypto, process_tree::ProcessTree, tls::Authority, wait::until,
};

use crate::site::Site;

const SOON: Duration = Duration::from_secs(20);
const PAGE: &str = r#"<!doctype html><html lang="en"><meta name="viewport" content="width=device-width">
<title>Form</title><style>
  #wide { display: none } @media (min-width: 800px) { #wide { display: block } }
  #dark { display: none } @media (prefers-color-scheme: dark) { #dark { display: block } }
</style>
<form action="/sent"><label>Work e-mail <input name="email" value="old"></label>
<button aria-label="Go on">-&gt;</button></form><p id="wide">wide</p><p id="dark">dark</p></html>"#;

fn site(authority: &Authority) -> anyhow::Result<Site> {
    let pages = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/sent", get(async || "It was sent."));
    Site::start(authority, pages)
}

#[tokio::test]
async fn a_form_is_filled_in_by_the_names_that_a_screen_reader_reads() -> anyhow::Result<()> {
    install_crypto();
    let authority = Authority::new()?;
    let site = site(&authority)?;
    let browser = Browser::start(&[&authority.ca_pem()]).await?;
    browser.visit(&site.url("/")).await?;
    browser.fill("Work e-mail", "ada@acme.test").await?;
    browser.click("Go on").await?;
    browser.wait_for_text("It was sent.").await?;
    let url = browser.wait_for_url(&site.url("/sent")).await?;
    ensure!(url.query() == Some("email=ada%40acme.test"), "{url}");
    Ok(())
}

#[tokio::test]
async fn it_can_be_a_phone_and_prefer_the_dark() -> anyhow::Result<()> {
    install_crypto();
    let authority = Authority::new()?;
    let site = site(&authority)?;
    let browser = Browser::start(&[&authority.ca_pem()]).await?;
    browser.visit(&site.url("/")).await?;
    let text = browser.text().await?;
    ensure!(text.contains("wide") && !text.contains("dark"), "{text}");
    browser.resize(390, 844).await?;
    browser.prefer_dark(true).await?;
    browser.wait_for_text("dark").await?;
    let text = browser.text().await?;
    ensure!(!text.contains("wide"), "{text}");
    ensure!(browser.run("return innerWidth").await? == 390);
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots/phone-in-the-dark.png");
    browser.screenshot(&picture).await?;
    ensure!(fs::read(&picture)?.starts_with(b"\x89PNG"));
    Ok(())
}

#[tokio::test]
async fn it_trusts_only_the_authorities_it_was_given() -> anyhow::Result<()> {
    install_crypto();
    let site = site(&Authority::new()?)?;
    let browser = Browser::start(&[&Authority::new()?.ca_pem()]).await?;
    browser.visit(&site.url("/")).await?;
    browser.wait_for_text("ERR_CERT_AUTHORITY_INVALID").await
}

#[tokio::test]
async fn dropping_it_ends_chromium_and_all_its_helpers() -> anyhow::Result<()> {
    let browser = Browser::start(&[]).await?;
    let processes = ProcessTree::below(browser.process().id()).ids();
    ensure!(processes.len() > 2, "Chromium runs as {processes:?}");
    drop(browser);
    let left: Vec<u32> = processes.into_iter().filter(|id| runs(*id)).collect();
    ensure!(left.is_empty(), "still there: {left:?}");
    Ok(())
}

#[tokio::test]
async fn chromium_ends_even_if_chromedriver_is_killed() -> anyhow::Result<()> {
    let browser = Browser::start(&[]).await?;
    let processes = ProcessTree::below(browser.process().id()).ids();
    browser.process().kill()?;
    until("Chromium to be gone", SOON, async || {
        let left: Vec<_> = processes.iter().filter(|id| runs(**id)).collect();
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(Some(()))
    })
    .await
}

/// Whether there is such a process, and it is more than an entry that nobody has collected yet.
fn runs(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}
