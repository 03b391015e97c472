//! The daemons of a node and its control plane: how each is started, and the files that some of them are told by.
//!
//! Deviations from the defaults are there for one of three reasons, which stand beside them: this machine is not the
//! cluster's own, the tests are waiting, or nothing can be pulled.

use std::fmt;

use anyhow::Result;
use serde_json::json;

use super::NODE;
use crate::build::{Image, Programs, plugins};
use crate::site::Site;

/// A daemon of a cluster, which a test may stop and start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Daemon {
    /// etcd.
    Etcd,
    /// containerd.
    Containerd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kube-proxy.
    Proxy,
    /// The kubelet.
    Kubelet,
}

/// The folder in which containerd finds how it reaches a registry.
pub(super) const REGISTRIES: &str = "registries";

impl Daemon {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::Containerd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Proxy,
        Self::Kubelet,
    ];

    /// The name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Proxy => "kube-proxy",
            Self::Kubelet => "kubelet",
        }
    }

    /// The daemon with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|daemon| daemon.name() == name)
    }

    /// How it is started.
    pub(super) fn command(self, site: &Site, programs: &Programs) -> Vec<String> {
        let program = match self {
            Self::Containerd => self.name().to_owned(),
            _ => programs.path(self.name()).display().to_string(),
        };
        let flags = match self {
            Self::Etcd => etcd(site),
            Self::Containerd => vec![flag("config", site.path("containerd.toml").display())],
            Self::ApiServer => api_server(site),
            Self::ControllerManager => controller_manager(site),
            Self::Scheduler => scheduler(site),
            Self::Proxy => vec![flag("config", site.path("proxy.json").display())],
            Self::Kubelet => kubelet(site),
        };
        std::iter::once(program).chain(flags).collect()
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Writes the files that daemons are told by.
pub(super) fn write_settings(site: &Site) -> Result<()> {
    site.write("containerd.toml", &containerd_settings(site, &plugins()?.display().to_string()))?;
    site.write("cni/10-turnout.conflist", &network(site))?;
    site.write("kubelet.json", &kubelet_settings(site))?;
    site.write("proxy.json", &proxy_settings(site))?;
    // Pods that are not to ask the cluster's DNS have none to ask.
    site.write("resolv.conf", "")
}

fn flag(name: &str, value: impl fmt::Display) -> String {
    format!("--{name}={value}")
}

fn kubeconfig(site: &Site, user: &str) -> String {
    flag("kubeconfig", site.path(&format!("{user}.kubeconfig")).display())
}

fn pki(site: &Site, name: &str, file: &str) -> String {
    flag(name, site.path("pki").join(file).display())
}

fn etcd(site: &Site) -> Vec<String> {
    let (clients, peers) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
    vec![
        flag("data-dir", site.path("etcd").display()),
        flag("listen-client-urls", clients),
        flag("advertise-client-urls", clients),
        flag("listen-peer-urls", peers),
        flag("log-level", "warn"),
        // The data is not meant to survive a power cut.
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn api_server(site: &Site) -> Vec<String> {
    let addresses = site.addresses();
    vec![
        flag("etcd-servers", "http://127.0.0.1:2379"),
        flag("bind-address", "0.0.0.0"),
        flag("advertise-address", addresses.node()),
        flag("secure-port", 6443),
        flag("service-cluster-ip-range", addresses.services()),
        pki(site, "tls-cert-file", "apiserver.crt"),
        pki(site, "tls-private-key-file", "apiserver.key"),
        pki(site, "client-ca-file", "ca.crt"),
        pki(site, "kubelet-certificate-authority", "ca.crt"),
        pki(site, "kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        pki(site, "kubelet-client-key", "apiserver-kubelet-client.key"),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        pki(site, "service-account-key-file", "service-account.pub"),
        pki(site, "service-account-signing-key-file", "service-account.key"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("allow-privileged", true),
    ]
}

fn controller_manager(site: &Site) -> Vec<String> {
    vec![
        kubeconfig(site, "controller-manager"),
        "--use-service-account-credentials".to_owned(),
        pki(site, "service-account-private-key-file", "service-account.key"),
        pki(site, "root-ca-file", "ca.crt"),
        pki(site, "cluster-signing-cert-file", "ca.crt"),
        pki(site, "cluster-signing-key-file", "ca.key"),
        flag("bind-address", "127.0.0.1"),
        flag("leader-elect", false),
        // Its controllers start one after another at the default rate, and the first pod waits seconds for them.
        flag("kube-api-qps", 500),
        flag("kube-api-burst", 1000),
    ]
}

fn scheduler(site: &Site) -> Vec<String> {
    vec![kubeconfig(site, "scheduler"), flag("bind-address", "127.0.0.1"), flag("leader-elect", false)]
}

fn kubelet(site: &Site) -> Vec<String> {
    vec![
        flag("config", site.path("kubelet.json").display()),
        kubeconfig(site, "kubelet"),
        flag("hostname-override", NODE),
        flag("node-ip", site.addresses().node()),
        flag("root-dir", "/var/lib/kubelet"),
        flag("v", 2),
    ]
}

fn kubelet_settings(site: &Site) -> String {
    let file = |name: &str| site.path(name).display().to_string();
    let settings = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": site.addresses().node(),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": file("pki/ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": file("pki/kubelet.crt"),
        "tlsPrivateKeyFile": file("pki/kubelet.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "clusterDNS": [site.addresses().dns_service()],
        "clusterDomain": "cluster.local",
        "resolvConf": file("resolv.conf"),
        "registerNode": true,
        // The machine is not the cluster's own: its pods have a cgroup beside everything else, and neither the size
        // of the disk nor swap is its concern.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", site.name()),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
        },
        // What is collected cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
    });
    settings.to_string()
}

fn proxy_settings(site: &Site) -> String {
    let settings = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": { "kubeconfig": site.path("proxy.kubeconfig") },
        "hostnameOverride": NODE,
        "clusterCIDR": site.addresses().pods(),
        "mode": "iptables",
        // The limits of connection tracking are the machine's.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    });
    settings.to_string()
}

/// `restrict_oom_score_adj`: a root that may not make a process less likely to be killed than itself (it lacks
/// CAP_SYS_RESOURCE, as in many containers) could not start any sandbox.
fn containerd_settings(site: &Site, plugins: &str) -> String {
    let (networks, pause) = (site.path("cni").display().to_string(), Image::Pause.reference());
    let registries = site.path(REGISTRIES).display().to_string();
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{registries}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

fn network(site: &Site) -> String {
    let bridge = json!({
        "type": "bridge",
        "bridge": "pods",
        "isGateway": true,
        "hairpinMode": true,
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "ranges": [[{ "subnet": site.addresses().pods() }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    });
    let ports = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    json!({ "cniVersion": "1.0.0", "name": "turnout", "plugins": [bridge, ports] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_are_found_by_name() {
        for daemon in Daemon::ALL {
            assert_eq!(Daemon::from_name(daemon.name()), Some(daemon));
        }
        assert_eq!(Daemon::from_name("dockerd"), None);
    }
}
