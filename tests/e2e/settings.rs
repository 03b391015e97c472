//! Settings: what is wrong with them is said in one message that names the flag, and the process ends with code 2 before
//! it serves anything. Environment variables do what flags do, and `--help` tells of every one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use regex::Regex;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use turnout_tests::bed::{TO_GREEN, documents};
use turnout_tests::client::{RawRequest, send};
use turnout_tests::echo::Backends;
use turnout_tests::eventually;
use turnout_tests::gateway::proxy_binary;

const LONG: Duration = Duration::from_secs(20);

/// A gateway's command without any setting, neither of a flag nor of the environment.
fn command() -> anyhow::Result<Command> {
    let mut command = Command::new(proxy_binary()?);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs it to its end.
async fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = tokio::time::timeout(LONG, command.output()).await;
    Ok(output.context("the gateway started in place of refusing")??)
}

/// Where routes could be, so that nothing is wrong but what a test makes wrong; and free ports.
fn base(folder: &TempDir) -> Vec<String> {
    let routes = folder.path().to_string_lossy().into_owned();
    let free = ["--listen", "80=127.0.0.1:0", "--status", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    ["--routes", &routes].into_iter().chain(free).map(str::to_owned).collect()
}

/// The base with these arguments in the place of its own of the same name.
async fn refused(folder: &TempDir, arguments: &[&str]) -> anyhow::Result<String> {
    let mut all = base(folder);
    for argument in arguments {
        let name = argument.split('=').next().unwrap_or_default();
        if let Some(index) = all.iter().position(|own| own == name) {
            all.drain(index..index + 2);
        }
    }
    let output = run(command()?.args(&all).args(arguments)).await?;
    let message = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(2), "{:?}, {message}", output.status);
    ensure!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(message)
}

#[tokio::test]
async fn every_bad_setting_is_named_in_one_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut rows: Vec<String> = [
        "--listen=here",
        "--listen=80=here",
        "--listen=0=127.0.0.1:0",
        "--listen=70000=127.0.0.1:0",
        "--listen=x=127.0.0.1:0",
        "--listen=:80",
        "--status=1",
        "--status=localhost:1",
        "--admin=127.0.0.1",
        "--admin=127.0.0.1:70000",
        "--workers=many",
        "--workers=-1",
        "--workers=1025",
        "--labels=x",
        "--labels==x",
        "--namespace=",
        "--namespace=a b",
        "--workload=a/b",
        "--trusted-proxies=10/8",
        "--trusted-proxies=10.0.0.0/33",
        "--trusted-proxies=here",
        "--dns-server=1.1.1.1",
        "--access-log=xml",
        "--log-format=xml",
        "--log=a=b=c",
        "--routes=/nowhere/routes",
        "--credentials=/nowhere/credentials",
    ]
    .map(str::to_owned)
    .to_vec();
    for count in [
        "max-connections",
        "max-tls-handshakes",
        "max-http2-streams",
        "max-target-bytes",
        "max-headers",
        "max-header-bytes",
    ] {
        rows.extend(["0", "-1", "1.5", "x", "", "99999999999999999999999"].map(|value| format!("--{count}={value}")));
    }
    for count in [
        "max-connections-per-client",
        "max-requests-per-connection",
        "max-body-bytes",
        "request-buffer-bytes",
        "retry-buffer-bytes",
    ] {
        rows.extend(["-1", "1.5", "x", "", "1k"].map(|value| format!("--{count}={value}")));
    }
    for timeout in [
        "tls-handshake",
        "request-head",
        "keep-alive-idle",
        "request-body-idle",
        "response-stall",
        "tunnel-idle",
        "upstream-idle",
    ] {
        rows.extend(["0", "-1", "1s", "", "86400001"].map(|value| format!("--{timeout}-timeout-ms={value}")));
    }
    for time in ["--shutdown-delay-ms", "--drain-timeout-ms"] {
        rows.extend(["-1", "1s", "86400001"].map(|value| format!("{time}={value}")));
    }
    let mut problems = String::new();
    for row in &rows {
        let (flag, value) = row.split_once('=').context("a row is FLAG=VALUE")?;
        match refused(&folder, &[row]).await {
            Ok(message) if message.lines().count() == 1 && message.contains(flag) && message.contains(value) => {}
            Ok(message) => writeln!(problems, "{row}: {message:?}")?,
            Err(error) => writeln!(problems, "{row}: {error:#}")?,
        }
    }
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let wrong = [
        "--routes=/nowhere",
        "--listen=here",
        "--status=1",
        "--workers=many",
        "--labels=x",
        "--max-headers=0",
        "--trusted-proxies=10/8",
        "--access-log=xml",
        "--log-format=xml",
        "--log=a=b=c",
        "--upstream-idle-timeout-ms=0",
    ];
    let message = refused(&folder, &wrong).await?;
    for argument in wrong {
        let flag = argument.split('=').next().unwrap_or_default();
        assert!(message.contains(flag), "{flag} is not in {message}");
    }
    Ok(())
}

#[tokio::test]
async fn routes_that_are_no_file_are_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pipe = folder.path().join("pipe");
    ensure!(Command::new("mkfifo").arg(&pipe).status().await?.success(), "no pipe");
    for path in [&*pipe.to_string_lossy(), "/dev/zero"] {
        let message = refused(&folder, &[&format!("--routes={path}")]).await?;
        assert!(message.contains(path) && message.contains("not a regular file"), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_missing_or_unknown_is_named() -> anyhow::Result<()> {
    for (arguments, named) in [
        (&[][..], "--routes"),
        (&["--routes", "/tmp", "--no-such-flag"][..], "--no-such-flag"),
        (&["--routes"][..], "--routes"),
        (&["--routes", "/tmp", "stray"][..], "stray"),
    ] {
        let output = run(command()?.args(arguments)).await?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_flag() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let mut problems = String::new();
    for flag in ["--listen", "--status", "--admin"] {
        let message = refused(&folder, &[&format!("{flag}={address}")]).await?;
        if !(message.contains(flag) && message.contains(&address) && message.lines().count() == 1) {
            writeln!(problems, "{flag}: {message:?}")?;
        }
    }
    let others = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let (status, admin) = (others[0].local_addr()?, others[1].local_addr()?);
    let all = [format!("--listen={address}"), format!("--status={status}"), format!("--admin={admin}")];
    let message = refused(&folder, &all.each_ref().map(String::as_str)).await?;
    for taken in [address.clone(), status.to_string(), admin.to_string()] {
        assert!(message.contains(&format!("cannot listen on {taken}: ")), "all at once: {message}");
    }
    let twice = format!("--listen=80={address},443={address}");
    let message = refused(&folder, &[&twice]).await?;
    assert!(message.contains("--listen") && message.contains("twice"), "{message}");
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}

#[tokio::test]
async fn an_addresses_file_that_cannot_be_written_is_named() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let message = refused(&folder, &["--addresses-file=/nowhere/addresses.json"]).await?;
    assert!(message.contains("/nowhere/addresses.json"), "{message}");
    Ok(())
}

/// A gateway that is set by its environment.
struct Running {
    _process: Child,
    listeners: Vec<String>,
    status: String,
}

async fn start(variables: &[(&str, &str)], arguments: &[&str], routes: &TempDir) -> anyhow::Result<Running> {
    let file = routes.path().join("addresses.json");
    let mut command = command()?;
    command
        .env("TURNOUT_ROUTES", routes.path())
        .env("TURNOUT_ADDRESSES_FILE", &file)
        .envs([("TURNOUT_STATUS", "127.0.0.1:0"), ("TURNOUT_ADMIN", "127.0.0.1:0")])
        .envs(variables.iter().copied())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = command.spawn()?;
    let read = || async { anyhow::Ok(serde_json::from_slice::<serde_json::Value>(&std::fs::read(&file)?)?) };
    let addresses = eventually(LONG, read).await?;
    let listeners = addresses["listeners"].as_array().context("a list")?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).context("an address");
    let listeners = listeners.iter().map(|listener| text(&listener["address"])).collect::<anyhow::Result<_>>()?;
    let running = Running { _process: process, listeners, status: text(&addresses["status"])? };
    eventually(LONG, || async {
        let response = send(running.status.parse()?, &RawRequest::get("/readyz")).await?;
        ensure!(response.status == 200, "{}", response.text());
        Ok(())
    })
    .await?;
    Ok(running)
}

#[tokio::test]
async fn environment_variables_do_what_flags_do_and_flags_win() -> anyhow::Result<()> {
    let backends = Backends::start().await?;
    let routes = tempfile::tempdir()?;
    std::fs::write(routes.path().join("routes.yaml"), documents(&backends, TO_GREEN))?;
    let long = RawRequest::get(&format!("/{}", "x".repeat(200)));
    let variables = [
        ("TURNOUT_LISTEN", "80=127.0.0.1:0,81=127.0.0.1:0"),
        ("TURNOUT_ENVOY_HEADERS", "true"),
        ("TURNOUT_MAX_TARGET_BYTES", "100"),
        ("TURNOUT_WORKERS", "1"),
    ];
    for (arguments, status) in [(&[][..], 414), (&["--max-target-bytes", "300"][..], 200)] {
        let running = start(&variables, arguments, &routes).await?;
        assert_eq!(running.listeners.len(), 2);
        let address = running.listeners[0].parse()?;
        assert_eq!(send(address, &long).await?.status, status, "{arguments:?}");
        let response = send(address, &RawRequest::get("/")).await?;
        assert_eq!((response.status, response.header("server")), (200, Some("istio-envoy")));
        std::fs::remove_file(routes.path().join("addresses.json"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_variable_is_refused_by_the_name_of_its_flag() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for (variable, value, flag) in [
        ("TURNOUT_WORKERS", "many", "--workers"),
        ("TURNOUT_LISTEN", "80=here", "--listen"),
        ("TURNOUT_REQUEST_HEAD_TIMEOUT_MS", "0", "--request-head-timeout-ms"),
        ("TURNOUT_ENVOY_HEADERS", "perhaps", "--envoy-headers"),
    ] {
        let output = run(command()?.env("TURNOUT_ROUTES", folder.path()).env(variable, value)).await?;
        let message = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{variable}: {message}");
        assert!(message.contains(flag) && message.contains(value), "{variable}: {message}");
    }
    Ok(())
}

/// Flags with the words after them: the value's name, the text, the variable.
fn flags(help: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let flag = Regex::new(r"(?m)^\s+(?:-\w, )?--([a-z0-9-]+)")?;
    let starts: Vec<(usize, String)> = flag
        .captures_iter(help)
        .filter_map(|captures| Some((captures.get(0)?.start(), captures[1].to_owned())))
        .collect();
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([help.len()]);
    let blocks = starts.iter().zip(ends).map(|((start, name), end)| (name.clone(), help[*start..end].to_owned()));
    Ok(blocks.collect())
}

#[tokio::test]
async fn help_tells_every_flag_with_its_unit_its_variable_and_its_default() -> anyhow::Result<()> {
    let output = run(command()?.arg("--help")).await?;
    assert_eq!(output.status.code(), Some(0));
    let flags = flags(&String::from_utf8(output.stdout)?)?;
    assert!(flags.len() > 35, "{:?}", flags.keys());
    for (name, block) in flags.iter().filter(|(name, _)| !matches!(name.as_str(), "help" | "version")) {
        let variable = format!("[env: TURNOUT_{}=]", name.replace('-', "_").to_uppercase());
        assert!(block.contains(&variable), "{variable} is not in {block}");
        let unit = match name {
            name if name.ends_with("-ms") => "<MS>",
            name if name.ends_with("-bytes") => "<BYTES>",
            name if name.starts_with("max-") || name == "workers" => "<COUNT>",
            _ => continue,
        };
        assert!(block.contains(unit) && block.contains("[default: "), "{unit} or a default is not in {block}");
    }
    let version = run(command()?.arg("--version")).await?;
    assert!(String::from_utf8(version.stdout)?.starts_with("turnout-proxy "));
    Ok(())
}
