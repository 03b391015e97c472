//! That the gateway sends no more than there is room for (RFC 9113, 6.9), and heeds settings from their acknowledgement on.

use super::open;
use anyhow::ensure;
use tokio::net::TcpStream;
use turnout_tests::bed::{Bed, TO_GREEN};
use turnout_tests::frames::{ACK, END_STREAM, Frame, FrameConnection, kind, setting};

type Connection = FrameConnection<TcpStream>;

/// A request that is answered with this body.
fn asks(stream: u32, body: &str) -> Frame {
    let echo = format!("body={body}");
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("x-echo", &echo)];
    Frame::headers(stream, &head, true)
}

/// Sends these, and takes the bodies that come before the gateway has answered a ping behind them.
async fn exchange(connection: &mut Connection, sends: &[Frame]) -> anyhow::Result<Vec<Frame>> {
    connection.send_all(sends).await?;
    connection.send(&Frame::new(kind::PING, 0).payload(&[7; 8])).await?;
    let mut came = Vec::new();
    loop {
        let frame = connection.until(|frame| matches!(frame.kind, kind::DATA | kind::PING)).await?;
        match frame.kind {
            kind::DATA => came.push(frame),
            _ if frame.flags & ACK != 0 && frame.payload == [7; 8] => return Ok(came),
            _ => {}
        }
    }
}

/// Takes DATA until so many bytes have come; more must not.
async fn take(connection: &mut Connection, bytes: usize) -> anyhow::Result<bool> {
    let (mut came, mut ended) = (0, false);
    while came < bytes {
        let data = connection.until(|frame| frame.kind == kind::DATA).await?;
        came += data.payload.len();
        ended |= data.flags & END_STREAM != 0;
    }
    ensure!(came == bytes, "{came} bytes where {bytes} are allowed");
    Ok(ended)
}

#[tokio::test]
async fn no_more_is_sent_than_a_stream_has_room_for() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut connection = open(&bed).await?;
    let initial = |size| Frame::setting_of(setting::INITIAL_WINDOW_SIZE, size);
    connection.send_all(&[initial(0), asks(1, "0123456789")]).await?;
    connection.until(|frame| frame.kind == kind::HEADERS).await?;
    ensure!(exchange(&mut connection, &[]).await?.is_empty(), "there is no room");
    let steps: [(&[Frame], usize); 4] = [
        (&[Frame::window_update(1, 3)], 3),
        // What every stream has more counts for those that are open, too.
        (&[initial(2)], 2),
        // Less makes it negative, which has to be made good first.
        (&[initial(0), Frame::window_update(1, 3)], 1),
        (&[Frame::window_update(1, 100)], 4),
    ];
    let mut ended = false;
    for (sends, bytes) in steps {
        ensure!(!ended, "it has ended before {sends:?}");
        connection.send_all(sends).await?;
        ended = take(&mut connection, bytes).await?;
        ensure!(exchange(&mut connection, &[]).await?.is_empty(), "more than there is room for after {sends:?}");
    }
    ensure!(ended);
    Ok(())
}

#[tokio::test]
async fn no_more_is_sent_than_the_connection_has_room_for() -> anyhow::Result<()> {
    const EACH: usize = 4000;
    const STREAMS: u32 = 20;
    const ROOM: usize = 65_535;
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut connection = open(&bed).await?;
    let requests: Vec<Frame> = (0..STREAMS).map(|number| asks(2 * number + 1, &"x".repeat(EACH))).collect();
    connection.send_all(&requests).await?;
    take(&mut connection, ROOM).await?;
    ensure!(exchange(&mut connection, &[]).await?.is_empty(), "more than there is room for");
    connection.send(&Frame::window_update(0, 1 << 20)).await?;
    take(&mut connection, EACH * STREAMS as usize - ROOM).await?;
    Ok(())
}

/// RFC 7541, 4.2: the next head begins with the table's size.
#[tokio::test]
async fn a_client_may_have_no_table() -> anyhow::Result<()> {
    let bed = Bed::start(TO_GREEN, &[]).await?;
    let mut connection = open(&bed).await?;
    for (round, size) in [None, Some(0), None].into_iter().enumerate() {
        if let Some(size) = size {
            connection.send(&Frame::setting_of(setting::HEADER_TABLE_SIZE, size)).await?;
            connection.until(|frame| frame.kind == kind::SETTINGS && frame.flags & ACK != 0).await?;
        }
        let stream = 2 * u32::try_from(round)? + 1;
        connection.send(&asks(stream, "x")).await?;
        let head = connection.until(|frame| frame.kind == kind::HEADERS && frame.stream == stream).await?;
        let first = head.payload.first().copied();
        ensure!((first == Some(0x20)) == size.is_some(), "{round}: {first:?}");
        // From then on nothing refers to a table.
        ensure!(round == 0 || head.payload.get(1) != Some(&0xbe), "{head:?}");
    }
    Ok(())
}
