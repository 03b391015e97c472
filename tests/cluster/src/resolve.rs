//! One question to the cluster's DNS server (RFC 1035 4), past every cache but the server's own: what a gateway will be
//! told next.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::Cluster;

const TIMEOUT: Duration = Duration::from_secs(5);
const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// The answer to a name that does not exist.
const NAME_ERROR: u8 = 3;

impl Cluster {
    /// The addresses that the cluster's DNS server has for a name, such as `model.default.svc.cluster.local`, sorted;
    /// none if it has no such name.
    pub fn resolve(&self, name: &str) -> Result<Vec<Ipv4Addr>> {
        let server = SocketAddr::new(self.addresses()?.dns_service().into(), 53);
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.connect(server)?;
        socket.send(&question(name)).with_context(|| format!("cannot ask {server}"))?;
        let mut answer = [0; 4096];
        let size = socket.recv(&mut answer).with_context(|| format!("{server} does not answer"))?;
        let mut addresses = addresses(&answer[..size]).with_context(|| format!("cannot resolve {name}"))?;
        addresses.sort_unstable();
        Ok(addresses)
    }
}

fn question(name: &str) -> Vec<u8> {
    // An identifier, "recursion desired", one question and nothing else.
    let mut bytes = vec![0x54, 0x55, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(TYPE_A.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    bytes
}

fn addresses(answer: &[u8]) -> Result<Vec<Ipv4Addr>> {
    match answer.get(3).context("the answer is cut short")? & 0xf {
        0 => {}
        NAME_ERROR => return Ok(Vec::new()),
        code => bail!("the server answers with the code {code}"),
    }
    let mut reader = Reader { bytes: answer, at: 6 };
    let records = reader.number()?;
    reader.at = HEADER;
    reader.skip_name()?;
    reader.skip(4)?;
    let mut addresses = Vec::new();
    for _ in 0..records {
        reader.skip_name()?;
        let kind = reader.number()?;
        reader.skip(6)?;
        let length = usize::from(reader.number()?);
        let data = reader.skip(length)?;
        if kind == TYPE_A {
            let octets: [u8; 4] = data.try_into().context("an address of another size")?;
            addresses.push(octets.into());
        }
    }
    Ok(addresses)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, count: usize) -> Result<&'a [u8]> {
        let skipped = self.bytes.get(self.at..self.at + count).context("the answer is cut short")?;
        self.at += count;
        Ok(skipped)
    }

    fn number(&mut self) -> Result<u16> {
        let bytes = self.skip(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Labels up to an empty one, or to a pointer at the rest.
    fn skip_name(&mut self) -> Result<()> {
        loop {
            match self.skip(1)?[0] {
                0 => return Ok(()),
                0xc0.. => return self.skip(1).map(drop),
                length => self.skip(usize::from(length))?,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn answer(code: u8, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question("a.example");
        bytes[2..4].copy_from_slice(&[0x85, code]);
        bytes[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 5, 0, u8::try_from(data.len()).unwrap()]);
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn only_addresses_are_taken_from_an_answer() {
        let found = addresses(&answer(0, &[(5, b"\x01b\xc0\x0e"), (1, &[10, 0, 0, 1]), (1, &[10, 0, 0, 2])])).unwrap();
        assert_eq!(found, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
    }

    #[test]
    fn an_unknown_name_has_no_addresses_and_a_failure_is_one() {
        assert_eq!(addresses(&answer(3, &[])).unwrap(), Vec::<Ipv4Addr>::new());
        assert!(addresses(&answer(2, &[])).is_err());
        let cut = answer(0, &[(1, &[10, 0, 0, 1])]);
        assert!(addresses(&cut[..cut.len() - 1]).is_err());
    }
}
