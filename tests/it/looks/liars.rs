//! What comes from somebody who only guesses, or means harm, is not listened to.

use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_net::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record,
        rdata::{CNAME, SOA, TXT},
    },
};
use rollcall::dns::Answer;
use rollcall_kit::dns::liar::Liar;

use super::{VALUE, asking, examine, walking};

/// A perfect answer that the value is there.
fn perfect(question: &Message) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.authoritative = true;
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.iter().cloned());
    for query in &question.queries {
        // to names that nobody has published nothing
        if query.name().to_ascii().to_lowercase().starts_with("_rollcall-challenge.") {
            let data = RData::TXT(TXT::new(vec![VALUE.into()]));
            answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
        } else {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
    }
    answer
}

/// What is seen where every answer is made like this; both by a walk and by a resolver.
async fn told(lie: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Answer {
    let liar = Liar::start(lie).unwrap();
    let walked = examine(walking(liar.address()), "acme.example").await.answer;
    let asked = examine(asking(&[liar.address()]), "acme.example").await.answer;
    assert_eq!(walked, asked);
    walked
}

fn bytes(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().unwrap()]
}

#[tokio::test]
async fn the_perfect_answer_is_believed() {
    assert_eq!(told(|question, _| bytes(&perfect(question))).await, Answer::Match);
}

#[tokio::test]
async fn answers_to_other_questions_are_not_believed() {
    let other = |question: &Message| {
        let mut answer = perfect(question);
        answer.queries[0].set_name(Name::from_ascii("_rollcall-challenge.evil.example.").unwrap());
        answer
    };
    assert_eq!(told(move |question, _| bytes(&other(question))).await, Answer::Malformed);
    let none = |question: &Message, _| {
        let mut answer = perfect(question);
        answer.queries.clear();
        bytes(&answer)
    };
    assert_eq!(told(none).await, Answer::Malformed);
    let question = |question: &Message, _| {
        let mut answer = perfect(question);
        answer.metadata.message_type = MessageType::Query;
        bytes(&answer)
    };
    assert_ne!(told(question).await, Answer::Match);
}

#[tokio::test]
async fn the_case_of_letters_must_be_repeated_and_ids_must_be_right() {
    // one who guesses the id but not the letters, before the honest server answers by TCP
    let lower = |question: &Message, tcp: bool| {
        let mut answer = perfect(question);
        if !tcp {
            answer.queries[0].name = answer.queries[0].name.to_lowercase();
            answer.answers.clear();
        }
        bytes(&answer)
    };
    assert_eq!(told(lower).await, Answer::Match);
    // many wrong ids, then the right one
    let guesses = |question: &Message, _| {
        let id = question.metadata.id;
        let guess = |offset| {
            let mut answer = perfect(question);
            answer.answers.clear();
            answer.metadata.id = id.wrapping_add(offset);
            answer.to_vec().unwrap()
        };
        (1..50).map(guess).chain(bytes(&perfect(question))).collect()
    };
    let liar = Liar::start(guesses).unwrap();
    let looked = examine(walking(liar.address()), "acme.example").await;
    assert_eq!(looked.answer, Answer::Match);
}

#[tokio::test]
async fn nonsense_is_malformed_and_every_code_is_told_apart() {
    for (code, answer) in [
        (ResponseCode::FormErr, Answer::Malformed),
        (ResponseCode::ServFail, Answer::ServFail),
        (ResponseCode::NotImp, Answer::Malformed),
        (ResponseCode::Refused, Answer::Refused),
        (ResponseCode::YXDomain, Answer::Malformed),
        (ResponseCode::YXRRSet, Answer::Malformed),
        (ResponseCode::NXRRSet, Answer::Malformed),
        (ResponseCode::NotAuth, Answer::Refused),
        (ResponseCode::NotZone, Answer::Malformed),
        (ResponseCode::BADVERS, Answer::Malformed),
        // records or not
        (ResponseCode::Unknown(3841), Answer::Malformed),
    ] {
        let lie = move |question: &Message, _| {
            let mut answer = perfect(question);
            answer.metadata.response_code = code;
            answer.edns = question.edns.clone();
            bytes(&answer)
        };
        assert_eq!(told(lie).await, answer, "{code}");
    }
    // cut off, with the right id and question
    let cut = |question: &Message, _| {
        let mut answer = bytes(&perfect(question));
        let length = answer[0].len();
        answer[0].truncate(length - 3);
        answer
    };
    assert_eq!(told(cut).await, Answer::Malformed);
    // records of somebody else's name
    let others = |question: &Message, _| {
        let mut answer = perfect(question);
        for record in &mut answer.answers {
            record.name = Name::from_ascii("acme.example.").unwrap();
        }
        bytes(&answer)
    };
    assert_ne!(told(others).await, Answer::Match);
}

#[tokio::test]
async fn absence_is_not_told_by_records_of_another_class() {
    for (class, answer) in [(DNSClass::IN, Answer::NoData), (DNSClass::CH, Answer::Malformed)] {
        let lie = move |question: &Message, _| {
            let mut empty = perfect(question);
            empty.metadata.response_code = ResponseCode::NoError;
            empty.answers.clear();
            let zone = Name::from_ascii("acme.example.").unwrap();
            let soa = RData::SOA(SOA::new(zone.clone(), zone.clone(), 1, 1, 1, 1, 1));
            let mut soa = Record::from_rdata(zone, 1, soa);
            soa.dns_class = class;
            empty.add_authority(soa);
            bytes(&empty)
        };
        assert_eq!(told(lie).await, answer, "{class}");
    }
}

#[tokio::test]
async fn whoever_does_not_speak_for_the_zone_is_not_believed() {
    let lie = |question: &Message, _| {
        let mut answer = perfect(question);
        answer.metadata.authoritative = false;
        answer.metadata.recursion_available = false;
        bytes(&answer)
    };
    assert_eq!(told(lie).await, Answer::Refused);
}

#[tokio::test]
async fn an_answer_of_sixty_four_kilobytes_does_no_harm() {
    let huge = |question: &Message, tcp: bool| {
        let mut answer = perfect(question);
        if tcp {
            let data = RData::TXT(TXT::new(vec!["x".repeat(255); 4]));
            let name = question.queries[0].name().clone();
            answer.add_answers((0..60).map(|_| Record::from_rdata(name.clone(), 0, data.clone())));
        } else {
            answer.metadata.truncation = true;
        }
        bytes(&answer)
    };
    let answer = told(huge).await;
    assert!(matches!(answer, Answer::Match | Answer::Mismatch), "{answer:?}");
}

/// A server for all names, in whose acme.example every name is an alias of what `target` makes of
/// its first label. What that is shows the value to every second question, as long as it is asked by
/// the name `shows`.
fn aliasing(target: fn(&str) -> String, shows: &'static str) -> Liar {
    let asked = AtomicUsize::new(0);
    Liar::start(move |question: &Message, _| {
        let mut answer = perfect(question);
        answer.answers.clear();
        answer.metadata.response_code = ResponseCode::NoError;
        let name = question.queries[0].name().clone();
        let plain = name.to_ascii().to_lowercase();
        if let Some(label) = plain.strip_suffix(".acme.example.") {
            let target = Name::from_ascii(target(label)).unwrap();
            answer.add_answer(Record::from_rdata(name, 0, RData::CNAME(CNAME(target))));
        } else if plain == shows && asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            let data = RData::TXT(TXT::new(vec![VALUE.into()]));
            answer.add_answer(Record::from_rdata(name, 0, data));
        } else {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        bytes(&answer)
    })
    .unwrap()
}

#[tokio::test]
async fn whoever_serves_what_a_wildcard_is_an_alias_of_proves_nothing() {
    let wildcard: fn(&str) -> String = |_| "edge.evil.example.".into();
    // and so do names below a DNAME, each of which has a target of its own
    let dname: fn(&str) -> String = |label| format!("{label}.evil.example.");
    for (target, shows) in
        [(wildcard, "edge.evil.example."), (dname, "_rollcall-challenge.evil.example.")]
    {
        let liar = aliasing(target, shows);
        let walked = examine(walking(liar.address()), "acme.example").await;
        assert_eq!(walked.answer, Answer::Wildcard, "{walked:?}");
        let liar = aliasing(target, shows);
        let asked = examine(asking(&[liar.address()]), "acme.example").await;
        assert_eq!(asked.answer, Answer::Wildcard, "{asked:?}");
    }
    // an alias that only the challenge name has is one that somebody has published
    let own: fn(&str) -> String = |label| match label {
        "_rollcall-challenge" => "proof.evil.example.".into(),
        _ => "edge.evil.example.".into(),
    };
    let liar = aliasing(own, "proof.evil.example.");
    let looked = examine(walking(liar.address()), "acme.example").await;
    assert_eq!(looked.answer, Answer::Match, "{looked:?}");
}
