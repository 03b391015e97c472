//! Waking when a request is due, to some microseconds: tokio's timer is a millisecond coarse, and would have all requests of a
//! millisecond sent at once.

use std::io;
use std::time::Instant;

pub(super) use system::Alarm;

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::AsyncReadExt as _;
    use tokio::net::unix::pipe::Receiver;

    use super::{Instant, io};

    /// A timer of the kernel (timerfd_create(2)), which is read like a pipe.
    #[derive(Debug)]
    pub(in crate::load) struct Alarm(Receiver);

    impl Alarm {
        pub(in crate::load) fn new() -> io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            Ok(Self(Receiver::from_file_unchecked(File::from(timer))?))
        }

        /// Returns at this moment, and never before it.
        pub(in crate::load) async fn at(&mut self, moment: Instant) {
            loop {
                let left = moment.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                let it_value = Timespec::try_from(left).expect("a wait is no longer than 584 years");
                let once = Itimerspec { it_interval: Timespec::default(), it_value };
                timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).expect("it is a timer and a time");
                // How often it has rung since it was set.
                self.0.read_u64().await.expect("a timer has no end");
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Instant, io};

    /// The timer of tokio has to do.
    #[derive(Debug)]
    pub(in crate::load) struct Alarm;

    impl Alarm {
        pub(in crate::load) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in crate::load) async fn at(&mut self, moment: Instant) {
            tokio::time::sleep_until(moment.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_again_and_again_and_never_too_early() {
        let mut alarm = Alarm::new().expect("the system has timers");
        let started = Instant::now();
        for micros in [0, 50, 40, 3000, 3001, 1] {
            let moment = started + Duration::from_micros(micros);
            alarm.at(moment).await;
            assert!(Instant::now() >= moment, "{micros}");
        }
    }
}
