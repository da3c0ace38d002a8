//! Taking artifacts in: whatever they are packed in, and whoever packed them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use orchestrate_core::ports::PortErrorKind;
use orchestrate_core::time::Timestamp;
use orchestrate_core::{Error, ErrorKind};
use orchestrate_providers::artifact::{ArtifactLimits, ArtifactStore};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

struct Place {
    dir: TempDir,
    store: ArtifactStore,
}

impl Place {
    fn new() -> Self {
        Self::with(ArtifactLimits::default())
    }

    fn with(limits: ArtifactLimits) -> Self {
        let dir = TempDir::new().unwrap();
        let store = ArtifactStore::new(&dir.path().join("home"), limits);
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn refusal(&self, name: &str, bytes: &[u8]) -> Error {
        let error = self.store.take_in_path(&self.file(name, bytes), None).unwrap_err();
        assert_eq!(self.kept(), Vec::<String>::new(), "something is left of {name}");
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains(name), "{error}");
        error
    }

    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("home/artifacts")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// A directory with a program, a file, and a link.
    fn sample(&self) -> PathBuf {
        let root = self.path("sample");
        fs::create_dir_all(root.join("lib/deep")).unwrap();
        fs::write(root.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(root.join("lib/deep/data"), vec![7; 100_000]).unwrap();
        symlink("lib/deep/data", root.join("data")).unwrap();
        root
    }
}

type Tar = tar::Builder<Vec<u8>>;

fn tarball(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

/// An entry with any name: the builder itself refuses bad ones.
fn add(tar: &mut Tar, kind: tar::EntryType, name: &str, target: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn file(tar: &mut Tar, name: &str) {
    add(tar, tar::EntryType::Regular, name, "", b"content");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zipped(fill: impl FnOnce(&mut zip::ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    fill(&mut writer);
    writer.finish().unwrap().into_inner()
}

#[test]
fn equal_content_has_one_digest_and_is_kept_once() {
    let place = Place::new();
    let sample = place.sample();
    let tar = tarball(|tar| {
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &sample).unwrap();
    });
    let zip = zipped(|zip| {
        let mode = |mode| SimpleFileOptions::default().unix_permissions(mode);
        zip.start_file("lib/deep/data", mode(0o600)).unwrap();
        zip.write_all(&vec![7; 100_000]).unwrap();
        zip.start_file("run", mode(0o700)).unwrap();
        zip.write_all(b"#!/bin/sh\n").unwrap();
        zip.add_symlink("data", "lib/deep/data", mode(0o777)).unwrap();
    });
    let first = place.store.take_in_path(&sample, None).unwrap();
    assert_eq!(first.size, 100_010);
    let packed = [
        place.file("a.tar", &tar),
        place.file("a.tar.gz", &gzip(&tar)),
        place.file("a.tgz", &[gzip(&tar[..5000]), gzip(&tar[5000..])].concat()),
        place.file("a.tar.zst", &zstd::encode_all(tar.as_slice(), 1).unwrap()),
        place.file("a.zip", &zip),
    ];
    let inode =
        |place: &Place| fs::metadata(place.path("home/artifacts").join(first.digest.as_str())).unwrap().ino();
    let kept = inode(&place);
    for path in packed {
        assert_eq!(place.store.take_in_path(&path, None).unwrap().digest, first.digest, "{}", path.display());
    }
    assert_eq!(place.kept(), [first.digest.as_str()]);
    assert_eq!(inode(&place), kept);
    place.store.verify(&first.digest).unwrap();

    let copy = place.path("copy");
    place.store.materialise(&first.digest, &copy).unwrap();
    let mode = |name: &str| fs::symlink_metadata(copy.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("run") & 0o7700, mode("lib/deep/data") & 0o7700), (0o700, 0o600));
    assert_eq!(fs::read(copy.join("data")).unwrap(), vec![7; 100_000]);
}

#[test]
fn the_smallest_difference_has_another_digest() {
    let place = Place::new();
    let digest = |change: &dyn Fn(&Path)| {
        let sample = place.sample();
        change(&sample);
        let digest = place.store.take_in_path(&sample, None).unwrap().digest;
        fs::remove_dir_all(sample).unwrap();
        digest
    };
    let mut all = vec![
        digest(&|_| {}),
        digest(&|root| fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o644)).unwrap()),
        digest(&|root| fs::write(root.join("lib/deep/data"), vec![8; 100_000]).unwrap()),
        digest(&|root| fs::rename(root.join("run"), root.join("ran")).unwrap()),
        digest(&|root| fs::create_dir(root.join("empty")).unwrap()),
        digest(&|root| {
            fs::remove_file(root.join("data")).unwrap();
            symlink("run", root.join("data")).unwrap();
        }),
    ];
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
    assert_eq!(digest(&|_| {}), digest(&|_| {}));
}

#[test]
fn one_executable_becomes_a_tree_of_itself() {
    let place = Place::new();
    let artifact = place.store.take_in_path(&place.file("shop-1.0", b"\x7fELF"), None).unwrap();
    place.store.materialise(&artifact.digest, &place.path("copy")).unwrap();
    let about = fs::metadata(place.path("copy/shop-1.0")).unwrap();
    assert_eq!(about.permissions().mode() & 0o100, 0o100);
    let error = place.store.take_in_path(&place.file("shop.tar.xz", b"x"), None).unwrap_err();
    assert!(error.message().contains("not supported"));
}

#[test]
fn a_missing_artifact_names_what_is_there() {
    let place = Place::new();
    place.file("shop-1.1.0.tar.gz", b"");
    let error = place.store.take_in_path(&place.path("shop-1.2.0.tar.gz"), None).unwrap_err();
    assert_eq!(error.code(), "ORC-0301");
    assert!(error.message().ends_with("shop-1.2.0.tar.gz does not exist"), "{error}");
    assert!(error.hint_text().unwrap().contains("shop-1.1.0.tar.gz"));
    let error = place.store.take_in_path(&place.path("dist/shop.tar.gz"), None).unwrap_err();
    assert!(error.hint_text().unwrap().contains("no directory"), "{:?}", error.hint_text());
}

#[test]
fn a_malicious_tar_is_refused_and_writes_nothing_outside() {
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    type Evil<'a> = (&'a str, &'a dyn Fn(&mut Tar));
    let place = Place::new();
    let outside = place.file("victim", b"untouched");
    let victim = outside.to_str().unwrap();
    let cases: &[Evil] = &[
        ("absolute", &|t| file(t, victim)),
        ("dots", &|t| file(t, "../victim")),
        ("inner-dots", &|t| file(t, "a/../../../victim")),
        ("link-out", &|t| add(t, Symlink, "a", "..", b"")),
        ("link-absolute", &|t| add(t, Symlink, "a", "/etc/passwd", b"")),
        ("link-through-link", &|t| {
            add(t, Directory, "d", "", b"");
            add(t, Symlink, "d/up", "..", b"");
            add(t, Symlink, "a", "d/up/../victim", b"");
        }),
        ("link-of-links", &|t| {
            add(t, Symlink, "deep/a", "../b/c", b"");
            add(t, Symlink, "b/c", "../..", b"");
        }),
        ("write-through-link", &|t| {
            add(t, Directory, "d", "", b"");
            add(t, Symlink, "a", "d", b"");
            file(t, "a/b");
        }),
        ("overwrite-link", &|t| {
            add(t, Symlink, "a", "b", b"");
            file(t, "a");
        }),
        ("link-loop", &|t| {
            add(t, Symlink, "a", "b", b"");
            add(t, Symlink, "b", "a", b"");
        }),
        ("hard-link-out", &|t| add(t, Link, "a", "../../victim", b"")),
        ("hard-link-absolute", &|t| add(t, Link, "a", victim, b"")),
        ("hard-link-to-link", &|t| {
            add(t, Symlink, "b", "x", b"");
            add(t, Link, "a", "b", b"");
        }),
        ("file-as-directory", &|t| {
            file(t, "a");
            file(t, "a/b");
        }),
        ("directory-as-file", &|t| {
            add(t, Directory, "a", "", b"");
            add(t, Regular, "a", "", b"x");
        }),
        ("itself", &|t| add(t, Regular, ".", "", b"x")),
        ("char-device", &|t| add(t, Char, "a", "", b"")),
        ("block-device", &|t| add(t, Block, "a", "", b"")),
        ("fifo", &|t| add(t, Fifo, "a", "", b"")),
    ];
    for (name, fill) in cases {
        let bytes = tarball(|tar| {
            file(tar, "innocent");
            fill(tar);
        });
        let error = place.refusal(&format!("{name}.tar.gz"), &gzip(&bytes));
        assert_eq!(error.code(), "ORC-0303", "{name}: {error}");
        assert!(error.message().contains("its entry `"), "{name}: {error}");
        assert_eq!(fs::read(&outside).unwrap(), b"untouched", "{name}");
    }
}

#[test]
fn links_that_stay_inside_are_kept() {
    let place = Place::new();
    let bytes = tarball(|tar| {
        file(tar, "bin/real");
        add(tar, tar::EntryType::Symlink, "bin/alias", "../bin/./real", b"");
        add(tar, tar::EntryType::Symlink, "to-bin", "bin", b"");
        add(tar, tar::EntryType::Symlink, "dangling", "not/there/yet", b"");
        add(tar, tar::EntryType::Link, "hard", "bin/real", b"");
        // A later entry of the same name wins, as in every tar.
        add(tar, tar::EntryType::Regular, "bin/real", "", b"newer");
    });
    let artifact = place.store.take_in_path(&place.file("a.tar", &bytes), None).unwrap();
    place.store.materialise(&artifact.digest, &place.path("copy")).unwrap();
    let read = |name: &str| fs::read_to_string(place.path("copy").join(name)).unwrap();
    assert_eq!(
        (read("bin/alias"), read("to-bin/real"), read("hard")),
        ("newer".into(), "newer".into(), "content".into())
    );
}

#[test]
fn a_malicious_zip_is_refused() {
    let place = Place::new();
    let options = SimpleFileOptions::default();
    let file = |name: &'static str| zipped(|zip| zip.start_file(name, options).unwrap());
    // The writer mends bad names, so they are put in afterwards, of the same length.
    let renamed = |to: &str| {
        let from = "x".repeat(to.len());
        let bytes = zipped(|zip| zip.start_file(from.as_str(), options).unwrap());
        let text: Vec<u8> = bytes;
        replace(&text, from.as_bytes(), to.as_bytes())
    };
    let linked = |target: &'static str| {
        zipped(|zip| {
            zip.start_file("f", options).unwrap();
            zip.add_symlink("a", target, options).unwrap();
        })
    };
    for (name, bytes) in [
        ("dots.zip", renamed("../../victim")),
        ("absolute.zip", renamed("/tmp/victim-of-zip")),
        ("link-out.zip", linked("../x")),
        ("link-absolute.zip", linked("/etc/passwd")),
        (
            "file-and-directory.zip",
            zipped(|zip| {
                zip.start_file("a", options).unwrap();
                zip.start_file("a/b", options).unwrap();
            }),
        ),
    ] {
        let error = place.refusal(name, &bytes);
        assert_eq!(error.code(), "ORC-0303", "{name}: {error}");
    }
    assert!(place.store.take_in_path(&place.file("good.zip", &file("f")), None).is_ok());
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    let place = Place::new();
    let sample = place.sample();
    fs::write(sample.join("noise"), noise(60_000)).unwrap();
    let tar = tarball(|tar| {
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &sample).unwrap();
    });
    let zip = zipped(|zip| {
        zip.start_file("noise", SimpleFileOptions::default()).unwrap();
        zip.write_all(&noise(60_000)).unwrap();
    });
    let kinds = [
        ("a.tar", tar.clone(), 1024),
        ("a.tar.gz", gzip(&tar), 0),
        ("a.tar.zst", zstd::encode_all(tar.as_slice(), 1).unwrap(), 0),
        ("a.zip", zip, 0),
    ];
    for (name, whole, padding) in kinds {
        let end = whole.len() - padding;
        let lengths = [0, 1, 10, 511, 512, 513, end / 3, end / 2, end - 1000, end - 9, end - 2, end - 1];
        for length in lengths {
            let error = place.refusal(name, &whole[..length]);
            assert_eq!(error.code(), "ORC-0302", "{name} cut to {length} of {}: {error}", whole.len());
        }
    }
    // Behind an entry, where only the mark of the end is missing.
    for (name, cut) in
        [("a.tar", tar[..tar.len() - 1024].to_vec()), ("a.tar.gz", gzip(&tar[..tar.len() - 1024]))]
    {
        assert_eq!(place.refusal(name, &cut).code(), "ORC-0302", "{name} without its end");
    }
    let mut flipped = gzip(&tar);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    place.refusal("flipped.tar.gz", &flipped);
    place.refusal("not-an-archive.zip", b"hello");
    place.refusal("empty.tar.gz", &gzip(&tarball(|_| {})));
}

#[test]
fn a_bomb_is_stopped_while_it_is_unpacked() {
    let limits = ArtifactLimits { bytes: 1 << 20, entries: 50 };
    let place = Place::with(limits);
    let huge = vec![0; 64 << 20];
    let bomb = tarball(|tar| add(tar, tar::EntryType::Regular, "a", "", &huge));
    let long_name = tarball(|tar| {
        add(tar, tar::EntryType::GNULongName, "././@LongLink", "", &huge);
        file(tar, "a");
    });
    let many = tarball(|tar| (0..60).for_each(|n| file(tar, &format!("f{n}"))));
    let deep = tarball(|tar| file(tar, &"d/".repeat(49)));
    let zip = zipped(|zip| {
        zip.start_file("a", SimpleFileOptions::default()).unwrap();
        zip.write_all(&huge).unwrap();
    });
    let copies = tarball(|tar| {
        add(tar, tar::EntryType::Regular, "a", "", &huge[..300 << 10]);
        (0..40).for_each(|n| add(tar, tar::EntryType::Link, &format!("l{n}"), "a", b""));
    });
    for (name, bytes) in [
        ("bomb.tar.gz", gzip(&bomb)),
        ("bomb.tar.zst", zstd::encode_all(bomb.as_slice(), 1).unwrap()),
        ("name.tar.gz", gzip(&long_name)),
        ("many.tar", many),
        ("bomb.zip", zip),
        ("copies.tar", copies),
    ] {
        assert_eq!(place.refusal(name, &bytes).code(), "ORC-0304", "{name}");
    }
    place.refusal("deep.tar", &deep);
}

#[test]
fn a_bomb_costs_neither_disk_nor_memory() {
    let place = Place::with(ArtifactLimits { bytes: 1 << 20, entries: 50 });
    // Ten gigabytes of zeros, made as a stream: unpacking them at all would take far longer than this test may.
    let path = place.path("bomb.tar.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
    let mut header = tar::Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(10 << 30);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    encoder.write_all(&vec![0; 32 << 20]).unwrap();
    encoder.finish().unwrap();
    assert_eq!(place.store.take_in_path(&path, None).unwrap_err().code(), "ORC-0304");
    assert_eq!(place.kept(), Vec::<String>::new());
}

#[test]
fn holes_and_archives_in_archives_count_as_what_they_are() {
    let place = Place::with(ArtifactLimits { bytes: 1 << 20, entries: 50 });
    let source = place.path("source");
    fs::create_dir(&source).unwrap();
    // Eight gigabytes in a few blocks, as GNU tar packs them.
    fs::File::create(source.join("holes")).unwrap().set_len(8 << 30).unwrap();
    let packed = place.path("holes.tar.gz");
    let tar = Command::new("tar").arg("-Sczf").arg(&packed).arg("-C").arg(&source).arg("holes").status();
    assert!(tar.unwrap().success());
    assert!(fs::metadata(&packed).unwrap().len() < 4096);
    assert_eq!(place.store.take_in_path(&packed, None).unwrap_err().code(), "ORC-0304");
    assert_eq!(place.kept(), Vec::<String>::new());
    // What lies inside is a file like any other: nobody unpacks it.
    let inner = gzip(&tarball(|tar| add(tar, tar::EntryType::Regular, "a", "", &vec![0; 64 << 20])));
    let outer = gzip(&tarball(|tar| add(tar, tar::EntryType::Regular, "inner.tar.gz", "", &inner)));
    let artifact = place.store.take_in_path(&place.file("outer.tar.gz", &outer), None).unwrap();
    assert_eq!(artifact.size, inner.len() as u64);
}

#[test]
fn what_changed_in_the_store_is_neither_verified_nor_given_out() {
    let place = Place::new();
    let artifact = place.store.take_in_path(&place.sample(), None).unwrap();
    let root = place.path("home/artifacts").join(artifact.digest.as_str());
    let tamper: [(&str, &dyn Fn()); 5] = [
        ("`lib/deep/data`", &|| overwrite(&root.join("tree/lib/deep/data"), &[6; 100_000])),
        ("`run`", &|| {
            fs::remove_file(root.join("tree/run")).unwrap();
            symlink("/bin/sh", root.join("tree/run")).unwrap();
        }),
        ("`run`", &|| fs::remove_file(root.join("tree/run")).unwrap()),
        ("`data`", &|| {
            fs::remove_file(root.join("tree/data")).unwrap();
            symlink("run", root.join("tree/data")).unwrap();
        }),
        ("listing", &|| overwrite(&root.join("listing"), b"orchestrate-tree 1\n")),
    ];
    for (what, change) in tamper {
        // Taking the same in again heals what was damaged.
        place.store.take_in_path(&place.path("sample"), None).unwrap();
        place.store.verify(&artifact.digest).unwrap();
        change();
        let copy = place.path("copy");
        let mut errors = vec![place.store.verify(&artifact.digest).unwrap_err()];
        match place.store.materialise(&artifact.digest, &copy) {
            Err(error) => errors.push(error),
            // Links are made from the listing, so a changed one does no harm.
            Ok(()) => {
                assert_eq!(what, "`data`");
                assert_eq!(fs::read_link(copy.join("data")).unwrap(), Path::new("lib/deep/data"));
                fs::remove_dir_all(&copy).unwrap();
            }
        }
        for error in errors {
            assert_eq!(error.kind, PortErrorKind::Missing);
            assert!(error.message.contains(what), "{what}: {error}");
        }
        assert!(!copy.exists());
    }
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(place.store.verify(&artifact.digest).unwrap_err().kind, PortErrorKind::Missing);
}

#[test]
fn a_kept_file_that_is_cut_at_any_length_is_named_and_healed_by_taking_it_in_again() {
    let place = Place::new();
    let source = place.path("small");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("run"), "#!/bin/sh\necho a service\n").unwrap();
    fs::write(source.join("data"), vec![7; 70_000]).unwrap();
    let artifact = place.store.take_in_path(&source, None).unwrap();
    let root = place.path("home/artifacts").join(artifact.digest.as_str());
    for (file, named, step) in
        [("listing", "listing", 1), ("tree/run", "`run`", 1), ("tree/data", "`data`", 7_001)]
    {
        let whole = fs::read(root.join(file)).unwrap();
        for length in (0..whole.len()).step_by(step) {
            overwrite(&root.join(file), &whole[..length]);
            let copy = place.path("copy");
            let given = place.store.materialise(&artifact.digest, &copy).unwrap_err();
            for error in [place.store.verify(&artifact.digest).unwrap_err(), given] {
                assert_eq!(error.kind, PortErrorKind::Missing, "{file} cut to {length} bytes");
                assert!(error.message.contains(named) && error.message.contains("ORC-0306"), "{error}");
            }
            assert!(!copy.exists(), "{file} cut to {length} bytes");
        }
        assert_eq!(place.store.take_in_path(&source, None).unwrap(), artifact);
        place.store.verify(&artifact.digest).unwrap();
    }
    assert_eq!(place.kept(), [artifact.digest.to_string()]);
}

#[test]
fn leftovers_of_a_crash_are_cleared_and_work_in_progress_is_not() {
    let place = Place::new();
    let dead = place.path("home/artifacts/.incoming-dead");
    let busy = place.path("home/artifacts/.incoming-busy");
    for directory in [&dead, &busy] {
        fs::create_dir_all(directory.join("tree")).unwrap();
    }
    let lock = fs::File::create(busy.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    place.store.take_in_path(&place.sample(), None).unwrap();
    assert!(!dead.exists());
    assert!(busy.exists());
}

#[test]
fn the_same_content_may_come_in_many_times_at_once() {
    let place = Place::new();
    let sample = place.sample();
    let digests: Vec<_> = std::thread::scope(|scope| {
        let take = || scope.spawn(|| place.store.take_in_path(&sample, None).unwrap().digest);
        let all: Vec<_> = (0..8).map(|_| take()).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(place.kept(), [digests[0].as_str()]);
}

#[test]
fn a_directory_with_the_home_in_it_or_with_a_fifo_is_refused() {
    let place = Place::new();
    let error = place.store.take_in_path(place.dir.path(), None).unwrap_err();
    assert!(error.message().contains("orchestrate's own home"), "{error}");
    let sample = place.sample();
    let fifo = sample.join("pipe");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(place.store.take_in_path(&sample, None).unwrap_err().code(), "ORC-0303");
}

#[test]
fn a_home_that_cannot_be_written_is_an_error_of_its_own() {
    let place = Place::new();
    fs::write(place.path("home"), "a file").unwrap();
    let error = place.store.take_in_path(&place.sample(), None).unwrap_err();
    assert_eq!(error.code(), "ORC-0307");
}

#[test]
fn the_tree_of_a_tag_is_taken_in() {
    let place = Place::new();
    let repository = place.path("repository");
    fs::create_dir(&repository).unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"];
        let out =
            Command::new("git").arg("-C").arg(&repository).args(identity).args(arguments).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    fs::write(repository.join("run"), "one").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["tag", "-a", "-m", "one", "v1.0.0"]);
    let commit = git(&["rev-parse", "HEAD"]);
    fs::write(repository.join("run"), "two").unwrap();
    git(&["commit", "-q", "-a", "-m", "two"]);
    git(&["tag", "v2.0.0"]);
    fs::write(repository.join("run"), "not committed").unwrap();

    let path = repository.to_str().unwrap();
    let one = place.store.take_in_git(path, "v1.0.0").unwrap();
    assert_eq!(one.commit, Some(commit.clone()));
    let at: Timestamp = git(&["show", "--no-patch", "--format=%cI", &commit]).parse().unwrap();
    assert_eq!(one.committed_at, Some(at));
    place.store.materialise(&one.digest, &place.path("copy")).unwrap();
    assert_eq!(fs::read_to_string(place.path("copy/run")).unwrap(), "one");
    let remote = place.store.take_in_git(&format!("file://{path}"), "v1.0.0").unwrap();
    assert_eq!((remote.digest, remote.commit), (one.digest.clone(), Some(commit.clone())));
    assert_eq!(place.store.take_in_git(path, &commit).unwrap().digest, one.digest);
    assert_ne!(place.store.take_in_git(path, "v2.0.0").unwrap().digest, one.digest);

    let error = place.store.take_in_git(path, "v1.0.1").unwrap_err();
    assert_eq!(error.code(), "ORC-0305");
    assert!(error.hint_text().unwrap().contains("v1.0.0"));
    for (repository, reference) in
        [(path, "--output=/tmp/x"), ("--upload-pack=x", "v1"), (path, ""), ("/nowhere", "v1")]
    {
        assert_eq!(place.store.take_in_git(repository, reference).unwrap_err().code(), "ORC-0305");
    }
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

/// Bytes that do not compress, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    next.take(length).collect()
}
