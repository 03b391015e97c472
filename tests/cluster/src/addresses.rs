//! The addresses of a cluster. Clusters that run side by side differ in their index, which is a byte of each.

use std::net::Ipv4Addr;

/// The networks of one cluster, all in 10.223.0.0 to 10.226.255.255. This machine has routes to all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Addresses {
    index: u8,
}

impl Addresses {
    pub(crate) fn new(index: u8) -> Self {
        Self { index }
    }

    /// This machine, as the cluster sees it.
    pub fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 223, self.index, 1)
    }

    /// The node, and so the API server and every node port.
    pub fn node(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 223, self.index, 2)
    }

    /// The network of the pods.
    pub fn pods(self) -> String {
        format!("10.224.{}.0/24", self.index)
    }

    /// The network of the Services' cluster IPs.
    pub fn services(self) -> String {
        format!("10.225.{}.0/24", self.index)
    }

    /// The cluster IP of the API server.
    pub fn api_service(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 225, self.index, 1)
    }

    /// The cluster IP of the DNS server.
    pub fn dns_service(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 225, self.index, 10)
    }

    /// The network of the load balancers' addresses.
    pub fn load_balancers(self) -> String {
        format!("10.226.{}.0/24", self.index)
    }

    /// One load balancer's address; 0 and 255 are none.
    pub fn load_balancer(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 226, self.index, number)
    }

    /// Where clients find the API server.
    pub(crate) fn api_url(self) -> String {
        format!("https://{}:6443", self.node())
    }
}
