//! What is read is written and read back as it was, and compiled; its router says where what it warns of stands, and
//! decides.

#![no_main]

use libfuzzer_sys::fuzz_target;
use turnout_routes::explain::{Inquiry, explain};
use turnout_routes::router::{Identity, compile};
use turnout_routes::{Source, locate, parse, render};

fuzz_target!(|bytes: &[u8]| {
    let source = Source { name: "fuzz", bytes };
    let Ok(parsed) = parse(&[source]) else { return };
    let written = render(&parsed.documents);
    let again = parse(&[Source { name: "written", bytes: written.as_bytes() }]);
    let again = again.unwrap_or_else(|problems| panic!("{problems}\n{written}")).documents;
    assert_eq!(render(&again), written);
    assert!(parsed.documents.iter().all(|document| again.contains(document)), "{written}");

    let router = compile(&parsed.documents, &Identity::default());
    let places = locate(&[source], router.warnings());
    assert_eq!(places.len(), router.warnings().count());
    for place in &places {
        assert!(place.line > 0 && place.column > 0 && !place.path.is_empty(), "{place}");
    }
    for url in ["http://a.example.com/a?x=1", "https://b.example.com:8080/"] {
        explain(&router, &Inquiry::new("GET", url, ["x-a: 1"]).expect("a request"));
    }
});
