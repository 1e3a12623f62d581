//! Everything that is made before a container of the pod is: volumes and what is in them, the sandbox.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;

use super::Stage;
use crate::local::container::{self, Ready, ids};
use crate::local::error::LocalError;
use crate::local::happening::Happening;
use crate::local::images::{self, ImageUsers};
use crate::local::pod_volumes::{self, MadeVolumes, PodVolumes};
use crate::local::sandbox::{self, Sandbox};
use crate::local::security::Flavour;
use crate::plan::go_quote;

/// Everything that was made before a container was.
pub(super) struct Scene {
    pub(super) sandbox: Sandbox,
    pub(super) volumes: PodVolumes,
    /// Volumes with a limit on disk, and the limit as it was written.
    pub(super) limited: BTreeMap<String, String>,
    /// The first of them that has grown beyond it.
    pub(super) over: watch::Receiver<Option<String>>,
    pub(super) ready: Vec<Ready>,
    pub(super) users: BTreeMap<String, ImageUsers>,
}

impl Stage<'_> {
    /// Volumes, sandbox and what is in them; nothing where a kubelet could not make the pod.
    pub(super) async fn set_up(&mut self) -> Result<Option<Scene>, LocalError> {
        let labels = self.lease.labels();
        let made = pod_volumes::make(
            self.engine,
            &self.play.pod,
            &self.play.contents,
            self.lease.id(),
            &labels,
        );
        let MadeVolumes { volumes, mut fillings, limited, left_out } = match made.await? {
            Ok(made) => made,
            Err(error) => return Ok(self.cannot_configure(None, &error.to_string())),
        };
        for what in left_out {
            self.note(format!("{what} is left out: only a cluster has it"));
        }
        let hostname = self.play.pod.metadata.name.clone().unwrap_or_default();
        let Some(first) = self.containers().into_iter().next() else { return Ok(None) };
        let (sandbox, output) = Sandbox::start(
            self.engine,
            self.lease,
            self.image(&first),
            volumes.for_sandbox(),
            &limited,
            &hostname,
            self.play.network.as_deref(),
        )
        .await?;
        self.state.address(sandbox.ip.as_deref().unwrap_or("127.0.0.1"));
        self.limits = self.can_limit(&sandbox);
        let Some((mut ready, users)) = self.resolve(&labels).await? else { return Ok(None) };
        for ready in &ready {
            fillings.extend(ready.fillings.iter().cloned());
            for (mount, sub_path) in &ready.mounts {
                let paths = sub_path.iter().flat_map(|path| volumes.sub_path(mount, path));
                fillings.extend(paths);
            }
        }
        sandbox.fill(self.engine, &fillings).await?;
        if !self.keep_inside(&mut ready, &volumes, &sandbox).await? {
            return Ok(None);
        }
        let (say, over) = watch::channel(None);
        if !limited.is_empty() {
            let tell = self.tell.clone();
            tokio::spawn(async move {
                match sandbox::overgrown(output).await {
                    Ok(Some(volume)) => drop(say.send(Some(volume))),
                    // It has ended, as it does when everything is removed.
                    Ok(None) => {}
                    Err(error) => {
                        let note = format!("nobody watches the sizes of volumes any more: {error}");
                        drop(tell.send(Happening::Note(note)));
                    }
                }
            });
        }
        Ok(Some(Scene {
            sandbox,
            volumes,
            limited: limited.into_iter().map(|limited| (limited.volume, limited.written)).collect(),
            over,
            ready,
            users,
        }))
    }

    /// Everything that a kubelet would find out of the containers before it makes them; nothing where it could not.
    async fn resolve(
        &mut self,
        labels: &HashMap<String, String>,
    ) -> Result<Option<(Vec<Ready>, BTreeMap<String, ImageUsers>)>, LocalError> {
        let mut users = BTreeMap::new();
        for (name, image) in &self.play.images {
            users.insert(name.clone(), images::users(self.engine, image, self.lease).await?);
        }
        let (mut ready, mut broken) = (Vec::new(), Vec::new());
        for container in self.containers() {
            let prepared = self
                .given(&container, &users, labels, |given| container::prepare(&container, given));
            match prepared {
                Ok(container) => ready.push(container),
                Err(error) => broken.push((container.name.clone(), error.to_string())),
            }
        }
        for (name, why) in &broken {
            self.cannot_configure(Some(name), why);
        }
        for ready in &ready {
            for capability in &ready.privileges.out_of_reach {
                self.note(format!(
                    "{}: capability {capability} is out of reach of a user who is not root in this engine",
                    ready.container.name
                ));
            }
            let image = self.image(&ready.container).id.clone();
            self.state.know(&ready.container.name, ready.identity.clone(), &image);
        }
        Ok(broken.is_empty().then_some((ready, users)))
    }

    /// Takes links out of the paths that are mounted of volumes which others use too: the engine would follow them, out of the volume
    /// as well. False where one leads out of it.
    async fn keep_inside(
        &mut self,
        ready: &mut [Ready],
        volumes: &PodVolumes,
        sandbox: &Sandbox,
    ) -> Result<bool, LocalError> {
        let mut fine = true;
        for Ready { container, mounts, .. } in ready {
            for (mount, sub_path) in mounts {
                let Some(path) = sub_path else { continue };
                if volumes.is_of_host(&mount.name) {
                    let kind = "hostPath, mounted with a subPath".into();
                    return Err(LocalError::Volume { volume: mount.name.clone(), kind });
                }
                let Some(volume) = volumes.shared_with_others(&mount.name) else { continue };
                if let Some(inside) = sandbox.without_links(self.engine, &volume, path).await? {
                    *path = inside;
                } else {
                    let why = format!(
                        "failed to prepare subPath for volumeMount {} of container {}: a link in it leads out of the volume",
                        go_quote(&mount.name),
                        go_quote(&container.name)
                    );
                    self.cannot_configure(Some(&container.name), &why);
                    fine = false;
                }
            }
        }
        Ok(fine)
    }

    /// Whether limits have an effect; who has set some is told where not.
    fn can_limit(&self, sandbox: &Sandbox) -> bool {
        let is_ordinary = match self.engine.flavour {
            Flavour::Docker => self.engine.rootless,
            Flavour::Podman => !sandbox.ids.is_everybody(),
        };
        let can = !(is_ordinary && self.engine.old_cgroups);
        if !can && self.containers().iter().any(has_limits) {
            self.note("limits of memory and processors have no effect: with version 1 of cgroups only root's engine can limit".into());
        }
        can
    }
}

impl Scene {
    /// An ordinary user's engine cannot give every id.
    pub(super) fn check_ids(&self) -> Result<(), LocalError> {
        let range = self.sandbox.ids;
        for ready in &self.ready {
            let (uid, gid) = ids(&ready.privileges.user);
            for (kind, id, last, file) in [
                ("user", uid, range.last_uid, "/etc/subuid"),
                ("group", gid, range.last_gid, "/etc/subgid"),
            ] {
                if let Some(id) = id.filter(|id| *id > last) {
                    let option = if kind == "user" { "--add-subuids" } else { "--add-subgids" };
                    let mend = format!(
                        "give it more in {file} (usermod {option} FIRST-LAST USER, then podman system migrate), run as root, or use a smaller id"
                    );
                    let container = ready.container.name.clone();
                    return Err(LocalError::IdOutOfRange { container, kind, id, last, mend });
                }
            }
        }
        Ok(())
    }

    /// Where the sandbox has what image-processing saved.
    pub(super) fn saved_image(&self, path: &str) -> Option<String> {
        let step = self.ready.last()?;
        step.container.volume_mounts.iter().flatten().find_map(|mount| {
            let below = path.strip_prefix(&mount.mount_path)?.strip_prefix('/')?;
            self.volumes.in_sandbox(&mount.name, below)
        })
    }
}

fn has_limits(container: &Container) -> bool {
    let resources = container.resources.as_ref();
    resources.and_then(|resources| resources.limits.as_ref()).is_some_and(|l| !l.is_empty())
}
