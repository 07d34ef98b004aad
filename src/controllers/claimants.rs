//! Who names a domain: found without a walk through every VerifiedDomain there is, which a pass
//! over each of 10,000 can't afford.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{
    ResourceExt,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

use super::namespace;
use crate::{api::VerifiedDomain, dns::DomainName};

/// The VerifiedDomains of the cache, by the domain they name.
#[derive(Clone)]
pub struct Claimants {
    store: Store<VerifiedDomain>,
    index: Arc<Mutex<Index>>,
}

/// Canonical name, namespace, object: in a set, which takes a third of the memory of lists in a map.
type Named = BTreeSet<(String, String, String)>;

#[derive(Default)]
struct Index {
    /// May hold who isn't in the cache, never lacks who is.
    named: Named,
    /// What the list under way has shown; the cache takes it all at once.
    listed: Named,
}

impl Claimants {
    pub fn new(store: Store<VerifiedDomain>) -> Self {
        Self { store, index: Arc::default() }
    }

    /// Keep up with the watch. To be told of each event before the cache is.
    pub fn follow(&self, event: &Event<VerifiedDomain>) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => index.listed.clear(),
            Event::InitApply(domain) => index.listed.extend(entry(domain)),
            Event::InitDone => index.named = std::mem::take(&mut index.listed),
            Event::Apply(domain) => index.named.extend(entry(domain)),
            Event::Delete(domain) => {
                entry(domain).map(|entry| index.named.remove(&entry));
            }
        }
    }

    /// Those who name the domain with this canonical form, as the cache has them.
    pub fn of(&self, canonical: &str) -> Vec<Arc<VerifiedDomain>> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let known = index.named.range((canonical.to_owned(), String::new(), String::new())..);
        known
            .take_while(|(domain, ..)| domain == canonical)
            .filter_map(|(_, namespace, name)| {
                self.store.get(&ObjectRef::new(name).within(namespace))
            })
            // of the same name, but made anew
            .filter(|object| entry(object).is_some_and(|(domain, ..)| domain == canonical))
            .collect()
    }
}

fn entry(object: &VerifiedDomain) -> Option<(String, String, String)> {
    let domain = DomainName::parse(&object.spec.domain).ok()?;
    Some((domain.to_string(), namespace(object), object.name_any()))
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;

    use super::*;
    use crate::api::VerifiedDomainSpec;

    fn domain(namespace: &str, name: &str, domain: &str) -> VerifiedDomain {
        let spec =
            VerifiedDomainSpec { domain: domain.into(), include_subdomains: None, suspend: None };
        let mut object = VerifiedDomain::new(name, spec);
        object.metadata.namespace = Some(namespace.into());
        object
    }

    #[test]
    fn a_domain_finds_all_who_name_it_however_they_write_it_for_as_long_as_they_exist() {
        let (store, mut writer) = reflector::store();
        let claimants = Claimants::new(store);
        let mut tell = |event: Event<VerifiedDomain>| {
            claimants.follow(&event);
            writer.apply_watcher_event(&event);
        };
        let names = |of: &str| {
            let mut names: Vec<_> =
                claimants.of(of).iter().map(|d| d.metadata.name.clone().unwrap()).collect();
            names.sort();
            names
        };
        let (a, b) = (domain("acme", "a", "acme.com"), domain("globex", "b", "ACME.com."));
        tell(Event::Init);
        tell(Event::InitApply(a.clone()));
        tell(Event::InitDone);
        tell(Event::Apply(b.clone()));
        tell(Event::Apply(domain("acme", "c", "bücher.example")));
        tell(Event::Apply(domain("acme", "d", "no domain")));
        assert_eq!(names("acme.com"), ["a", "b"]);
        assert_eq!(names("xn--bcher-kva.example"), ["c"]);

        tell(Event::Delete(a));
        assert_eq!(names("acme.com"), ["b"]);

        // the watch broke: what went meanwhile isn't in the new list
        tell(Event::Init);
        tell(Event::InitApply(domain("acme", "c", "acme.com")));
        assert_eq!(names("acme.com"), ["b"]);
        tell(Event::InitDone);
        assert_eq!(names("acme.com"), ["c"]);
        assert!(names("xn--bcher-kva.example").is_empty());
    }
}
