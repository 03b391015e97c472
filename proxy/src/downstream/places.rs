//! How many connections there are, in all and by client address where that is limited.

use crate::settings::ConnectionSettings;
use crate::telemetry::metrics::{Level, Metrics};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Places {
    metrics_open: Level,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    /// Whether it is counted under this address.
    client: Option<IpAddr>,
}

impl Places {
    pub(crate) fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self { metrics_open: metrics.connections.clone(), taken: Mutex::default() })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// Takes a place, or says which limit is reached.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr, settings: &ConnectionSettings) -> Result<Place, &'static str> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= settings.max_connections {
            return Err("max-connections");
        }
        if let Some(max) = settings.max_per_client {
            let of_client = taken.by_client.entry(client).or_default();
            if *of_client >= max.get() {
                return Err("max-connections-per-client");
            }
            *of_client += 1;
        }
        taken.all += 1;
        self.metrics_open.inc();
        Ok(Place { places: Arc::clone(self), client: settings.max_per_client.map(|_| client) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        self.places.metrics_open.dec();
        if let Some(client) = self.client
            && let Some(of_client) = taken.by_client.get_mut(&client)
        {
            *of_client -= 1;
            if *of_client == 0 {
                taken.by_client.remove(&client);
            }
        }
    }
}
