//! saml-rs, written by others and on two other XML parsers, is asked about the good responses too.
//! There is none that it can't take, once it is told which are encrypted.

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use rollcall_kit::saml::{
    hostile::{Mode, Parties},
    styles,
};
use saml_rs::{
    AcsEndpoint, BrowserInput, ClockSkew, Credentials, EntityId, FormField, IdpDescriptor,
    MetadataTrustPolicy, PrivateKeyPem, ReplayPolicy, Saml, SamlValidationContext, Sp, SpConfig,
    SpValidationPolicy, SsoResponse, XmlEncryptionPolicy, XmlPolicy,
};

use super::Checker;

#[test]
fn saml_rs_finds_the_same_people_and_attributes_in_all_good_responses() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let idp = IdpDescriptor::from_metadata_xml_for(
        EntityId::try_new(&parties.issuer)?,
        &parties.metadata(),
        MetadataTrustPolicy::UnsignedForCompatibility,
    )?;
    let plain = service_provider(&parties, XmlEncryptionPolicy::default())?;
    let decrypting = service_provider(&parties, XmlEncryptionPolicy::encrypt_assertions())?;
    let checker = Checker::new(&parties)?;
    let good = styles::all(&parties, Mode::Unsolicited.request())?;
    let files = good.iter().map(|one| checker.file(&one.name, one.document.as_bytes()));
    let (_, ours) =
        checker.check(Mode::Unsolicited, &files.collect::<anyhow::Result<Vec<_>>>()?)?;
    for (one, ours) in good.iter().zip(ours) {
        let encrypted = one.document.contains("EncryptedAssertion");
        let field = FormField::new("SAMLResponse", BASE64_STANDARD.encode(&one.document));
        let now = SystemTime::from(parties.now);
        let context = SamlValidationContext::new(now, ReplayPolicy::DisabledForCompatibility)
            .with_clock_skew(ClockSkew::from_millis(-60_000, 60_000));
        let theirs = if encrypted { &decrypting } else { &plain }
            .accept_unsolicited_sso(&idp, BrowserInput::<SsoResponse>::post(vec![field]), context)
            .with_context(|| one.name.clone())?;
        let name_id = theirs.name_id().value();
        ensure!(ours.name_id.as_deref() == Some(name_id), "{}: {name_id}", one.name);
        let mut attributes = BTreeMap::<_, Vec<_>>::new();
        for attribute in theirs.attributes().as_slice() {
            // it leaves Windows line ends in values, which a parser should make one (XML 1.0, 2.11)
            let values = attribute.values().iter().map(|one| one.as_str().replace("\r\n", "\n"));
            attributes.entry(attribute.name().to_owned()).or_default().extend(values);
        }
        ensure!(ours.attributes.as_ref() == Some(&attributes), "{}: {attributes:?}", one.name);
    }
    Ok(())
}

fn service_provider(
    parties: &Parties,
    encryption: XmlEncryptionPolicy,
) -> anyhow::Result<Saml<Sp>> {
    let key = PrivateKeyPem::new(parties.recipient.key_pem());
    let config = SpConfig::builder(EntityId::try_new(&parties.sp.entity_id)?)
        .acs_endpoint(AcsEndpoint::post(&parties.sp.acs)?)
        .credentials(Credentials { decryption_key: Some(key), ..Credentials::default() })
        .validation(SpValidationPolicy::recommended())
        .xml(XmlPolicy { encryption, ..XmlPolicy::default() });
    Ok(Saml::sp(config.build()?)?)
}
