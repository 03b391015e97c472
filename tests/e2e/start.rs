//! The first moments of a gateway: whoever is accepted before there are routes waits for them, and is refused only if none
//! come.

use std::fmt::Write as _;

use turnout_tests::bed::{KEY, PORT, services, virtual_service};
use turnout_tests::client::{Http2Connection, RawConnection, RawRequest, send};
use turnout_tests::dns::{Answer, DnsServer};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::{DEADLINE, GatewayCommand};
use turnout_tests::mount::KubeletMount;

#[tokio::test]
async fn a_gateway_answers_by_its_routes_as_soon_as_its_port_accepts() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    // Enough to take a moment to read.
    let mut rules = String::new();
    for rule in 0..1000 {
        writeln!(rules, "- {{match: [{{uri: {{exact: /{rule}}}}}], route: [{{destination: {{host: dead}}}}]}}")?;
    }
    let documents = services(&backends) + &virtual_service(&(rules + "- route: [{destination: {host: green}}]"));
    let (get, mut seen) = (RawRequest::get("/"), Vec::new());
    for _ in 0..20 {
        let routes = KubeletMount::new(&[(KEY, documents.as_bytes())])?;
        let gateway = GatewayCommand::new(routes.path()).listen(PORT).spawn().await?;
        let address = gateway.address(PORT);
        let (http1, http2) = tokio::join!(send(address, &get), async {
            let request = http::Request::get("http://a/").body(bytes::Bytes::new())?;
            Http2Connection::open(address).await?.send(request).await
        });
        seen.extend([http1?.status, http2?.status().as_u16()]);
    }
    assert_eq!(seen, [200; 40]);
    Ok(())
}

#[tokio::test]
async fn a_gateway_without_routes_refuses_after_a_while() -> anyhow::Result<()> {
    for keys in [&[][..], &[("other.txt", &b"nothing"[..])]] {
        let routes = KubeletMount::new(keys)?;
        let gateway = GatewayCommand::new(routes.path()).listen(PORT).spawn().await?;
        for _ in 0..2 {
            let refused = send(gateway.address(PORT), &RawRequest::get("/")).await?;
            assert_eq!((refused.status, refused.header("x-turnout-reason")), (503, Some("no_routes")));
            let ready = gateway.status("/readyz").await?;
            assert_eq!(ready.status, 200, "an installation is complete before its first routes");
            assert!(String::from_utf8_lossy(&ready.body).contains("no routes are published yet"), "{ready:?}");
        }
        let told = gateway.status("/revision").await?.json()?;
        assert!(told["active"].is_null() && told["rejected"].is_null(), "{told}");
        assert_eq!(gateway.metrics().await?.sum("turnout_routes_rejected", &[]), Some(0.0));
    }
    Ok(())
}

#[tokio::test]
async fn a_gateway_whose_routes_hold_nothing_is_not_ready() -> anyhow::Result<()> {
    let routes = KubeletMount::new(&[(KEY, b"# nothing\n")])?;
    let gateway = GatewayCommand::new(routes.path()).listen(PORT).spawn().await?;
    gateway.wait_for_rejection().await?;
    assert_eq!(gateway.status("/readyz").await?.status, 503);
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_told_to_end_before_its_first_table_answers_who_waits_and_closes() -> anyhow::Result<()> {
    // A table waits a while for the names in it: here for one that nobody answers for.
    let name = "silent.example.com";
    let dns = DnsServer::start().await?;
    dns.say(name, Answer::Silence);
    let documents = virtual_service(&format!("- route: [{{destination: {{host: {name}, port: {{number: 80}}}}}}]"));
    let routes = KubeletMount::new(&[(KEY, documents.as_bytes())])?;
    let dns_server = dns.address().to_string();
    let arguments = ["--shutdown-delay-ms", "300", "--dns-server", &dns_server];
    let gateway = GatewayCommand::new(routes.path()).listen(PORT).args(&arguments).spawn().await?;
    let mut waiting = RawConnection::open(gateway.address(PORT)).await?;
    waiting.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    eventually(DEADLINE, || async { if dns.asked(name) > 0 { Ok(()) } else { Err("it has not asked") } }).await?;
    gateway.signal("TERM")?;
    let refused = waiting.response("GET").await?;
    let told = [refused.header("x-turnout-reason"), refused.header("connection")];
    assert_eq!((refused.status, told), (503, [Some("no_routes"), Some("close")]));
    let ended = gateway.wait_until_exit(DEADLINE).await?;
    assert!(ended.success(), "{ended}: {}", gateway.log());
    Ok(())
}
