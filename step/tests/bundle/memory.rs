//! How much memory and disk it takes, whatever the size of the source.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use tempfile::tempdir;

use super::artifact::{Fetched, push_layout};
use crate::image::layout::Layout;
use crate::image::memory::{LIMIT, MIB, large, peak_memory};
use crate::image::registry::Registry;
use crate::image::tools::{role, run};

#[test]
fn memory_does_not_grow_with_an_artifact_nor_do_zeros_take_room() {
    const SIZE: u64 = 500 * MIB;
    let registry = Registry::plain();
    let dir = tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let (plain, packed) = (dir.path().join("plain"), dir.path().join("packed"));
    let diff_id = large(&plain, SIZE);
    let pack = "gzip -1 -c \"$1\" >\"$2\"";
    run("sh", &["-c", pack, "-", plain.to_str().unwrap(), packed.to_str().unwrap()]);
    let layer = layout.file("application/vnd.oci.image.layer.v1.tar+gzip", &packed);
    let image = layout.image_of("amd64", &[layer], &[diff_id]);
    push_layout(&registry, "large:1", &layout.finish(&[image]), &[]);
    let fetched = Fetched::new();
    let arguments = fetched.arguments(&registry.image("large:1"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let peak = peak_memory(&mut role("bundle"), &arguments);
    println!("500 MiB: peak {peak} KiB");
    assert!(peak < LIMIT, "{peak} KiB");
    let unpacked = fs::metadata(fetched.path("zeros")).unwrap();
    assert_eq!(unpacked.len(), SIZE);
    assert!(unpacked.blocks() * 512 < MIB, "{} blocks", unpacked.blocks());
}
