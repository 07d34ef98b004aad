//! What several servers' words amount to. Pure: no time, no network.

use std::collections::BTreeSet;

use hickory_net::proto::rr::Name;

use super::{
    answer::Answer,
    reply::{Failure, Reply, texts},
    walk::Heard,
};

/// What one server says of the challenge record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// These TXT records are there.
    Texts(Vec<String>),
    Alias(Name),
    NoData,
    NxDomain,
    /// Other servers would know, says this one, and too few say the same.
    Elsewhere,
    Failed(Failure),
}

impl Opinion {
    pub fn of(heard: &Heard, name: &Name) -> Self {
        match &heard.said {
            Ok((Reply::Records, message)) => Self::Texts(texts(message, name)),
            Ok((Reply::Alias(target), _)) => Self::Alias(target.to_lowercase()),
            Ok((Reply::NoData(_), _)) => Self::NoData,
            Ok((Reply::NxDomain(_), _)) => Self::NxDomain,
            Ok((Reply::Referral(_), _)) => Self::Elsewhere,
            Err(failure) => Self::Failed(*failure),
        }
    }

    /// Whether the value is there, as one whole record.
    pub fn shows(&self, expected: &str) -> bool {
        let is_it = |text: &String| !expected.is_empty() && text == expected;
        matches!(self, Self::Texts(texts) if texts.iter().any(is_it))
    }
}

/// Where a look stands once all servers of one zone are heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record is elsewhere.
    Follow(Name),
    Final(Answer),
}

/// Weigh what the servers of a zone say.
///
/// Half of them must answer, so that one of two may be dead; of those that answer, more than half
/// must show the value to prove anything, and none may show it, or point elsewhere, for it to be gone.
pub fn judge(opinions: &[Opinion], expected: &str) -> Verdict {
    let heard: Vec<_> =
        opinions.iter().filter(|opinion| !matches!(opinion, Opinion::Failed(_))).collect();
    if heard.is_empty() || 2 * heard.len() < opinions.len() {
        let failures = opinions.iter().filter_map(|opinion| match opinion {
            Opinion::Failed(failure) => Some(*failure),
            _ => None,
        });
        return Verdict::Final(failures.min().map_or(Answer::Unreachable, of_failure));
    }
    let showing = heard.iter().filter(|opinion| opinion.shows(expected)).count();
    if 2 * showing > heard.len() {
        return Verdict::Final(Answer::Match);
    }
    let aliases: BTreeSet<_> = heard
        .iter()
        .filter_map(|opinion| match opinion {
            Opinion::Alias(target) => Some(target),
            _ => None,
        })
        .collect();
    let aliased = heard.iter().filter(|opinion| matches!(opinion, Opinion::Alias(_))).count();
    match aliases.first() {
        Some(target) if aliases.len() == 1 && aliased == heard.len() => {
            return Verdict::Follow((*target).clone());
        }
        Some(_) => return Verdict::Final(Answer::Inconsistent),
        None if showing > 0 => return Verdict::Final(Answer::Inconsistent),
        None => {}
    }
    if heard.contains(&&Opinion::Elsewhere) {
        return Verdict::Final(Answer::Inconsistent);
    }
    let some = |wanted: fn(&Opinion) -> bool| heard.iter().any(|opinion| wanted(opinion));
    Verdict::Final(if some(|opinion| matches!(opinion, Opinion::Texts(_))) {
        Answer::Mismatch
    } else if some(|opinion| *opinion == Opinion::NoData) {
        Answer::NoData
    } else {
        Answer::NxDomain
    })
}

/// The answer where this is why there is none.
pub fn of_failure(failure: Failure) -> Answer {
    match failure {
        Failure::Refused | Failure::Lame => Answer::Refused,
        Failure::ServFail => Answer::ServFail,
        Failure::Malformed => Answer::Malformed,
        Failure::Timeout => Answer::Timeout,
        Failure::Unreachable | Failure::Private | Failure::NoAddress => Answer::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Opinion {
        Opinion::Texts(values.iter().map(|value| (*value).to_owned()).collect())
    }

    fn alias(target: &str) -> Opinion {
        Opinion::Alias(Name::from_ascii(target).unwrap())
    }

    #[test]
    fn most_of_those_that_answer_must_show_the_value() {
        let (there, other, dead) =
            (|| texts(&["other", "v"]), || texts(&["other"]), || Opinion::Failed(Failure::Timeout));
        for (opinions, answer) in [
            (vec![there()], Answer::Match),
            (vec![there(), dead()], Answer::Match),
            (vec![there(), dead(), dead()], Answer::Timeout),
            (vec![there(), there(), dead(), dead()], Answer::Match),
            (vec![there(), there(), Opinion::NxDomain], Answer::Match),
            (vec![there(), Opinion::NxDomain], Answer::Inconsistent),
            (vec![there(), Opinion::NxDomain, other()], Answer::Inconsistent),
            (vec![there(), Opinion::NxDomain, dead(), dead()], Answer::Inconsistent),
            (vec![there(), there(), Opinion::Elsewhere], Answer::Match),
            (vec![there(), Opinion::Elsewhere], Answer::Inconsistent),
        ] {
            assert_eq!(judge(&opinions, "v"), Verdict::Final(answer), "{opinions:?}");
        }
    }

    #[test]
    fn a_record_is_gone_only_if_no_server_shows_it_and_half_of_them_say_so() {
        let dead = || Opinion::Failed(Failure::ServFail);
        for (opinions, answer) in [
            (vec![Opinion::NxDomain, Opinion::NxDomain], Answer::NxDomain),
            (vec![Opinion::NxDomain, Opinion::NoData], Answer::NoData),
            (vec![Opinion::NoData, texts(&["other"])], Answer::Mismatch),
            (vec![Opinion::NoData, dead()], Answer::NoData),
            (vec![Opinion::NxDomain, Opinion::NxDomain, Opinion::Elsewhere], Answer::Inconsistent),
            (vec![Opinion::NoData, dead(), dead()], Answer::ServFail),
            (vec![], Answer::Unreachable),
        ] {
            assert_eq!(judge(&opinions, "v"), Verdict::Final(answer), "{opinions:?}");
        }
    }

    #[test]
    fn a_value_is_there_only_as_one_whole_record() {
        for records in [&["va"][..], &["av"], &["", "V"], &["\"v\""]] {
            for expected in ["v", "not there", ""] {
                let verdict = judge(&[texts(records)], expected);
                assert_eq!(verdict, Verdict::Final(Answer::Mismatch), "{records:?}");
            }
        }
    }

    #[test]
    fn an_alias_is_followed_if_nobody_denies_it() {
        let follow = Verdict::Follow(Name::from_ascii("a.test.").unwrap());
        let dead = Opinion::Failed(Failure::Refused);
        assert_eq!(judge(&[alias("a.test."), alias("A.test."), dead], "v"), follow);
        for other in [alias("b.test."), Opinion::NoData, texts(&["other"])] {
            let verdict = judge(&[alias("a.test."), other], "v");
            assert_eq!(verdict, Verdict::Final(Answer::Inconsistent));
        }
    }

    #[test]
    fn what_tells_most_is_said_of_several_failures() {
        let opinions = [Failure::Timeout, Failure::Refused, Failure::ServFail].map(Opinion::Failed);
        assert_eq!(judge(&opinions, "v"), Verdict::Final(Answer::Refused));
    }
}
