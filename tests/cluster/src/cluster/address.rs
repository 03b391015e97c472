//! The load balancer's part, which on a cloud is somebody else's: giving a Service an address.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Cluster;

/// A cloud takes minutes.
const DEADLINE: Duration = Duration::from_mins(10);

impl Cluster {
    /// Gives a Service of type LoadBalancer the next address of [`crate::Addresses::load_balancers`], at which
    /// kube-proxy then serves it. On an existing cluster it waits for the address that the cloud gives.
    pub fn give_address(&self, namespace: &str, service: &str) -> Result<Ipv4Addr> {
        let Some(own) = &self.own else {
            let what = format!("the cloud has given the Service {service} an address");
            return self.wait_until(&what, DEADLINE, || self.given_address(namespace, service));
        };
        // An address that the Service has already stays.
        if let Ok(address) = self.given_address(namespace, service) {
            return Ok(address);
        }
        let number = own.next_address.fetch_add(1, Ordering::Relaxed);
        let address = own.site.addresses().load_balancer(number);
        let patch = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address }] } } }).to_string();
        self.kubectl(&[
            "patch",
            "service",
            service,
            "--namespace",
            namespace,
            "--subresource",
            "status",
            "--type",
            "merge",
            "--patch",
            &patch,
        ])?;
        Ok(address)
    }

    fn given_address(&self, namespace: &str, service: &str) -> Result<Ipv4Addr> {
        let service = self.get(namespace, "service", service)?;
        let ingress = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        ingress.context("it has none")?.parse().context("it is no address of IPv4")
    }
}
