//! The identity provider serves metadata over TLS that only its own authority vouches for, and
//! misbehaves when told to.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use anyhow::ensure;
use reqwest::{Certificate, Client, redirect::Policy};
use rollcall_kit::{
    install_crypto,
    saml_idp::{Behaviour, SamlIdp, new_certificate},
    tls::Authority,
};

const SHORT: Duration = Duration::from_millis(300);

fn client(idp: &SamlIdp) -> anyhow::Result<Client> {
    let ca = Certificate::from_pem(&fs::read(idp.ca_file())?)?;
    Ok(Client::builder().tls_certs_only([ca]).redirect(Policy::none()).build()?)
}

#[tokio::test]
async fn metadata_follows_the_certificates() -> anyhow::Result<()> {
    install_crypto();
    let idp = SamlIdp::start(&Authority::new()?)?;
    let client = client(&idp)?;
    let get = async || client.get(idp.metadata_url()).send().await?.text().await;
    let first = get().await?;
    ensure!(first == idp.metadata() && first.contains(&idp.entity_id()), "{first}");
    ensure!(first.matches("<md:KeyDescriptor").count() == 1, "{first}");

    let old = idp.certificates();
    let new = idp.rotate_certificate()?;
    let rotated = get().await?;
    ensure!(rotated != first && rotated.matches("<md:KeyDescriptor").count() == 1, "{rotated}");

    let past = new_certificate(SystemTime::now() - Duration::from_secs(60))?;
    idp.set_certificates([old, vec![new, past]].concat());
    idp.set_attributes(r#"cacheDuration="PT1H""#);
    let all = get().await?;
    ensure!(all.matches("<md:KeyDescriptor").count() == 3 && all.contains("PT1H"), "{all}");
    ensure!(idp.requests() == 3);
    Ok(())
}

#[tokio::test]
async fn it_misbehaves_as_it_is_told() -> anyhow::Result<()> {
    install_crypto();
    let idp = SamlIdp::start(&Authority::new()?)?;
    let client = client(&idp)?;
    let get = async || client.get(idp.metadata_url()).send().await;

    idp.set(Behaviour::Body(b"<html>sign in</html>".to_vec()));
    ensure!(get().await?.text().await? == "<html>sign in</html>");
    idp.set(Behaviour::Status(503));
    ensure!(get().await?.status() == 503);
    idp.set(Behaviour::RedirectTo("http://127.0.0.1/".into()));
    let redirect = get().await?;
    ensure!(redirect.status() == 302 && redirect.headers()["location"] == "http://127.0.0.1/");
    idp.set(Behaviour::Huge(20_000));
    ensure!(get().await?.bytes().await?.len() == 20_000);

    idp.set(Behaviour::Endless);
    let mut endless = get().await?;
    let mut read = 0;
    while read < 1_000_000 {
        read += endless.chunk().await?.map_or(0, |chunk| chunk.len());
    }
    idp.set(Behaviour::Silent);
    ensure!(tokio::time::timeout(SHORT, get()).await.is_err());
    Ok(())
}
