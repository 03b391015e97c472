//! What a request and a connection take.

use super::*;

fn size<'g, F: Future>(
    _: impl FnOnce(&'g Rc<Gateway>, OpenRequest, Option<Rc<StreamEnd>>, Request<Incoming>) -> F,
) -> usize {
    size_of::<F>()
}

#[test]
fn a_request_takes_little_room() {
    let size = size(Gateway::handle);
    println!("a request: {size} bytes");
    assert!(size < 2048, "{size} bytes");
}
