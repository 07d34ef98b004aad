use std::time::{Duration, Instant};

use super::*;

#[test]
fn what_is_read_is_bounded_before_it_is_parsed() {
    let ok = |text: &str| assert!(document(text, &METADATA).is_ok(), "{text:.80}");
    let refused =
        |text: &str| assert_eq!(document(text, &METADATA).err(), Some(XmlError::TooComplex));
    let nested = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
    ok(&nested(METADATA.depth));
    refused(&nested(METADATA.depth + 1));
    ok(&format!("<r>{}</r>", "<a></a>".repeat(5000)));
    refused(&format!("<r>{}</r>", "<a/>".repeat(METADATA.markup)));

    let attributes = |n| (0..n).map(|i| format!(" a{i} = '>'")).collect::<String>();
    ok(&format!("<r{}/>", attributes(MAX_ATTRIBUTES)));
    refused(&format!("<r{}/>", attributes(MAX_ATTRIBUTES + 1)));

    let declared = |n| (0..n).map(|i| format!("\nxmlns:n{i}\n=\"u:{i}\"")).collect::<String>();
    ok(&format!("<r{}><a/></r>", declared(40)));
    refused(&format!("<r{0}><a{0}/></r>", declared(40)));
    ok(&format!("<r>{}</r>", format!("<a{}/>", declared(40)).repeat(40)));
    refused(&format!("<r>{}</r>", format!("<a{}/>", declared(40)).repeat(51)));
    refused(&format!("<r xmlns:a='{}'/>", "x".repeat(MAX_NAMESPACE)));
    refused(&format!("<r xmlns:{}='x'/>", "a".repeat(MAX_NAMESPACE)));

    // what only looks like tags doesn't count, and hides none
    let hidden = "<a>".repeat(METADATA.depth + 1);
    ok(&format!("<r><!--{hidden}--><![CDATA[{hidden}]]><?p {hidden}?>'\"</r>"));
    refused(&format!("<r><!----><![CDATA[]]><?p?>'\"<!-- ' -->{hidden}</r>"));
    assert_eq!(document("<!DOCTYPE r []><r/>", &METADATA).err(), Some(XmlError::HasDtd));
}

/// The parser would give the child a namespace by each of the first four.
#[test]
fn names_that_are_no_qualified_ones_are_refused() {
    for text in [
        "<a:b xmlns:a='urn:a' a:xmlns='urn:x'><c/></a:b>",
        "<b xmlns:a='urn:a'\n\ta:xmlns = \"urn:x\"><c/></b>",
        "<b :xmlns='urn:x'><c/></b>",
        "<b nope:xmlns='urn:x'><c/></b>",
        "<b xmlns:xmlns='urn:x'/>",
        "<b xmlns:='urn:x'/>",
        "<b :c='d'/>",
        "<b c:='d'/>",
        "<b xmlns:c='urn:c' c:d:e='f'/>",
        "<:b/>",
        "<b><:c></c></b>",
        "<b></:b>",
        "<c:/>",
        "<b><c::d/></b>",
    ] {
        assert_eq!(document(text, &METADATA).err(), Some(XmlError::NotXml), "{text}");
    }
    assert!(document("<a:b xmlns:a='urn:a' a:c=':xmlns' xmlns='urn:x'/>", &METADATA).is_ok());
}

/// The worst of 2 MiB that was thought of. An unoptimised build is some 20 times slower than what
/// the module promises.
#[test]
fn hostile_documents_cost_little_time_and_no_stack() {
    let size = METADATA.bytes - 100;
    let fill = |text: &str| text.repeat(size / text.len());
    let most_attributes = (0..MAX_ATTRIBUTES - 4)
        .map(|i| format!(" {}:a{i:02}=''", if i % 2 == 0 { "p" } else { "q" }))
        .collect::<String>();
    let uri = "u".repeat(MAX_NAMESPACE - 20);
    let two = format!("<r xmlns:p='{uri}p' xmlns:q='{uri}q'>");
    let in_scope = (0..MAX_NAMESPACES_IN_SCOPE - 1)
        .map(|i| format!(" xmlns:{}{i:02}='u'", "n".repeat(MAX_NAMESPACE - 10)))
        .collect::<String>();
    let documents = [
        fill("<a>"),
        fill("<a xmlns:b='c'>"),
        fill("<a/>"),
        fill("<"),
        fill("="),
        fill("&#65;"),
        fill("<!---->"),
        "<r><!--".to_owned() + &fill("-"),
        "<r ".to_owned() + &fill("a='b' "),
        "<r>".to_owned() + &fill("x") + "</r>",
        "<r>".to_owned() + &"<![CDATA[x]]>".repeat(METADATA.markup - 2) + "</r>",
        format!(
            "{two}{}</r>",
            format!("<e{most_attributes}/>").repeat(METADATA.equals / MAX_ATTRIBUTES)
        ),
        format!("<r{in_scope}>{}</r>", "<e xmlns:x='u'/>".repeat(METADATA.namespaces - 64)),
        format!("<r{in_scope}>{}</r>", "<e/>".repeat(METADATA.markup - 2)),
    ];
    let threads = std::thread::Builder::new().stack_size(256 << 10);
    let run = move || {
        for text in documents {
            let start = Instant::now();
            let read = document(&text, &METADATA).map(|_| ());
            let took = start.elapsed();
            println!("{took:>10.1?} {read:?} {text:.40}");
            assert!(took < Duration::from_secs(2), "{took:?} {text:.80}");
        }
    };
    threads.spawn(run).unwrap().join().unwrap();
}
