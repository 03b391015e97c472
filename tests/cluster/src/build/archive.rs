//! An image as one file, without a daemon or a registry: an OCI image layout (image-spec 1.1, image-layout.md) in a tar
//! archive, which containerd, kind and docker load. It holds one program and what programs expect around them.
//!
//! The same program makes the same bytes.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::hex;

/// Changes whenever the same program gives another image.
pub(super) const FORMAT: u32 = 1;

/// The user of programs that need no privilege; by number, because `runAsNonRoot` looks at nothing else.
pub(super) const UNPRIVILEGED: u32 = 65532;

const PASSWD: &str = "root:x:0:0:root:/:/none\nturnout:x:65532:65532:turnout:/tmp:/none\n";
const GROUP: &str = "root:x:0:\nturnout:x:65532:\n";
/// A statically linked C library looks names up in the order that it finds here.
const NAME_SERVICES: &str = "hosts: files dns\n";

/// Writes the image of `program`, which is at `/NAME` in it and its entry point.
pub(super) fn write(reference: &str, name: &str, program: &Path, user: u32, archive: &Path) -> Result<()> {
    let blobs = blobs(name, &read(program)?, user, &[]).context("cannot make the image")?;
    write_layout(reference, &blobs, archive)
}

/// The same with this environment (`NAME=VALUE`), for a user without privileges, and named by its digest. Returns that
/// name.
pub(super) fn write_by_digest(
    repository: &str,
    name: &str,
    program: &Path,
    environment: &[String],
    archive: &Path,
) -> Result<String> {
    let blobs = blobs(name, &read(program)?, UNPRIVILEGED, environment).context("cannot make the image")?;
    let reference = format!("{repository}@{}", blobs.manifest.digest);
    write_layout(&reference, &blobs, archive)?;
    Ok(reference)
}

fn read(program: &Path) -> Result<Vec<u8>> {
    fs::read(program).with_context(|| format!("cannot read {}", program.display()))
}

fn write_layout(reference: &str, blobs: &Blobs, archive: &Path) -> Result<()> {
    let layout = layout(reference, blobs).context("cannot make the image")?;
    // Whoever reads it at the same time sees the old one or the new one.
    let unfinished = archive.with_extension(format!("unfinished-{}", std::process::id()));
    fs::write(&unfinished, layout).with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, archive).with_context(|| format!("cannot write {}", archive.display()))
}

/// What an image is, but for its names.
struct Blobs {
    manifest: Blob,
    config: Blob,
    layer: Blob,
}

fn blobs(name: &str, program: &[u8], user: u32, environment: &[String]) -> io::Result<Blobs> {
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", layer(name, program)?);
    let mut config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": { "Entrypoint": [format!("/{name}")], "User": user.to_string(), "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    });
    if !environment.is_empty() {
        config["config"]["Env"] = json!(environment);
    }
    let config = Blob::new("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    Ok(Blobs { manifest: Blob::new(manifest_type, manifest.to_string().into_bytes()), config, layer })
}

fn layout(reference: &str, blobs: &Blobs) -> io::Result<Vec<u8>> {
    let mut descriptor = blobs.manifest.descriptor();
    let tag = reference.rsplit(':').next().unwrap_or(reference);
    descriptor["annotations"] =
        json!({ "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag });
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });

    let mut archive = Builder::new(Vec::new());
    add_file(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add_file(&mut archive, "index.json", 0o644, index.to_string().as_bytes())?;
    for blob in [&blobs.manifest, &blobs.config, &blobs.layer] {
        add_file(&mut archive, &blob.path(), 0o644, &blob.bytes)?;
    }
    archive.into_inner()
}

/// The file system.
fn layer(name: &str, program: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    add_folder(&mut archive, "etc/", 0o755)?;
    add_file(&mut archive, "etc/group", 0o644, GROUP.as_bytes())?;
    add_file(&mut archive, "etc/nsswitch.conf", 0o644, NAME_SERVICES.as_bytes())?;
    add_file(&mut archive, "etc/passwd", 0o644, PASSWD.as_bytes())?;
    add_folder(&mut archive, "tmp/", 0o1777)?;
    add_file(&mut archive, name, 0o755, program)?;
    archive.into_inner()
}

fn add_file(archive: &mut Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}

fn add_folder(archive: &mut Builder<Vec<u8>>, path: &str, mode: u32) -> io::Result<()> {
    let mut header = header(EntryType::Directory, mode);
    header.set_size(0);
    archive.append_data(&mut header, path, io::empty())
}

/// Of root, and as old as can be.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The name that Go, and so every image, gives this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Content that is found by its digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        Self { media_type, digest, bytes }
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;
    use crate::build::Image;

    fn files(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            files.insert(path, (entry.header().mode().unwrap(), bytes));
        }
        files
    }

    fn made(reference: &str, program: &[u8], user: u32, environment: &[String]) -> Vec<u8> {
        layout(reference, &blobs("model", program, user, environment).unwrap()).unwrap()
    }

    /// The content that a descriptor stands for, after comparing its digest and size.
    fn blob<'a>(files: &'a BTreeMap<String, (u32, Vec<u8>)>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))].1;
        assert_eq!(digest, format!("sha256:{}", hex(&Sha256::digest(bytes))));
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn every_part_is_found_by_its_digest() {
        let layout = files(&made("turnout.test/model:dev", b"program", UNPRIVILEGED, &[]));
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let manifest = &json(&layout["index.json"].1)["manifests"][0];
        assert_eq!(manifest["annotations"]["io.containerd.image.name"], "turnout.test/model:dev");
        let manifest = json(blob(&layout, manifest));
        let config = json(blob(&layout, &manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/model"]));
        assert_eq!(config["config"]["User"], "65532");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = files(blob(&layout, &manifest["layers"][0]));
        assert_eq!(layer["model"], (0o755, b"program".to_vec()));
        assert_eq!(layer["tmp/"].0, 0o1777);
        assert!(String::from_utf8_lossy(&layer["etc/passwd"].1).contains(":65532:65532:"));
    }

    #[test]
    fn the_dockerfile_makes_the_same_layout() {
        let text = std::fs::read_to_string(crate::build::repository().join("charts/Dockerfile")).unwrap();
        let shipped = Image::OWN.into_iter().filter(|image| *image != Image::Model).map(Image::name);
        let targets = shipped.flat_map(|name| {
            [format!("FROM base AS {name}\nCOPY --from=build /programs/{name} /"), format!("ENTRYPOINT [\"/{name}\"]")]
        });
        let files = [PASSWD, GROUP, NAME_SERVICES].into_iter().flat_map(str::lines).map(str::to_owned);
        let base = ["FROM scratch AS base".to_owned(), "1777 /base/tmp".to_owned(), format!("USER {UNPRIVILEGED}")];
        for part in targets.chain(files).chain(base) {
            assert!(text.contains(&part), "charts/Dockerfile has no {part}");
        }
    }

    #[test]
    fn the_same_program_makes_the_same_image() {
        let make = |program: &[u8]| made("a:b", program, 0, &[]);
        assert_eq!(make(b"one"), make(b"one"));
        assert_ne!(make(b"one"), make(b"two"));
    }

    #[test]
    fn another_environment_is_another_image_of_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let (program, archive) = (folder.path().join("model"), folder.path().join("image.tar"));
        fs::write(&program, b"program").unwrap();
        let write = |revision: &str| {
            let environment = [format!("MODEL_REVISION={revision}")];
            write_by_digest("turnout.test/scoring", "model", &program, &environment, &archive).unwrap()
        };
        let (first, second) = (write("r1"), write("r2"));
        assert_ne!(first, second);
        let layout = files(&fs::read(&archive).unwrap());
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let manifest = &json(&layout["index.json"].1)["manifests"][0];
        assert_eq!(manifest["annotations"]["io.containerd.image.name"], second);
        assert_eq!(second, format!("turnout.test/scoring@{}", manifest["digest"].as_str().unwrap()));
        let config = json(blob(&layout, &json(blob(&layout, manifest))["config"]));
        assert_eq!(config["config"]["Env"], json!(["MODEL_REVISION=r2"]));
    }
}
