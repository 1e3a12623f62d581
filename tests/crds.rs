//! The committed CustomResourceDefinitions are the generated ones. `UPDATE=1` rewrites them.

use std::path::Path;

use slipway::api::crd;

#[test]
fn the_committed_files_are_the_generated_ones() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut names = Vec::new();
    for crd in crd::crds() {
        let name = crd::file_name(&crd);
        let generated = crd::to_yaml(&crd).expect("prints");
        let path = directory.join(&name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&directory).expect("directory");
            std::fs::write(&path, &generated).expect("writes");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == generated, "{name} is not what the types say: run with UPDATE=1");
        names.push(name);
    }
    names.sort();
    let mut found: Vec<_> = std::fs::read_dir(&directory)
        .expect("directory")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, names, "files of no kind");
}
