//! What is registered.

use std::net::IpAddr;
use std::time::Duration;

use consul::register::{CheckRegistration, ServiceRegistration};
use consul::{GoDuration, Weights};

use crate::http::Call;
use crate::registration::{self, Registration};
use crate::{Client, Error, Status};

/// An instance of a service, about to be registered.
///
/// By default it holds a lease of 60 s that its [`Registration`] renews every 10 s, and it has no check: it
/// counts as passing as long as it is renewed.
#[derive(Debug, Clone)]
#[must_use = "nothing is registered until `register` is called"]
pub struct Service {
    registration: ServiceRegistration,
    lease: Duration,
}

/// How long a lease lasts unless the program chooses.
const LEASE: Duration = Duration::from_secs(60);

impl Service {
    /// An instance of the service `name`: 1 to 63 letters, digits and hyphens.
    pub fn new(name: &str) -> Service {
        let registration = ServiceRegistration { name: name.into(), ..ServiceRegistration::default() };
        Service { registration, lease: LEASE }
    }

    /// Its id, unique on its host. By default the name and the port, so that a restarted program takes its
    /// own place again.
    pub fn id(mut self, id: &str) -> Service {
        self.registration.id = id.into();
        self
    }

    /// The port that it listens on.
    pub fn port(mut self, port: u16) -> Service {
        self.registration.port = port;
        self
    }

    /// The address that it listens on. By default its node's.
    pub fn address(mut self, address: IpAddr) -> Service {
        self.registration.address = address.to_string().into();
        self
    }

    /// A tag, beside those it has.
    pub fn tag(mut self, tag: &str) -> Service {
        self.registration.tags.push(tag.into());
        self
    }

    /// A label, beside those it has.
    pub fn meta(mut self, key: &str, value: &str) -> Service {
        self.registration.meta.insert(key.into(), value.into());
        self
    }

    /// Its share of traffic while passing and while warning. 1 and 1 by default; 0 gets none.
    pub fn weights(mut self, passing: u16, warning: u16) -> Service {
        self.registration.weights = Some(Weights { passing, warning });
        self
    }

    /// A check, beside those it has. Until its first run an instance with a check is critical.
    pub fn check(mut self, check: Check) -> Service {
        self.registration.checks.push(check.0);
        self
    }

    /// How long one renewal lasts; the guard renews six times in that time. 60 s by default.
    pub fn lease(mut self, term: Duration) -> Service {
        self.lease = term;
        self
    }

    /// Without a lease: registered until it is deregistered, whatever becomes of the program.
    pub fn without_lease(mut self) -> Service {
        self.lease = Duration::ZERO;
        self
    }

    /// Registers it and keeps it registered as long as the guard lives. An earlier registration of the same
    /// id is replaced at once.
    ///
    /// # Errors
    /// [`Error`]: the daemon is not there, or does not take the registration.
    pub async fn register(self, client: &Client) -> Result<Registration, Error> {
        let (registration, lease) = self.finish();
        client.register(&registration).await?;
        Ok(registration::keep(client.clone(), registration, lease))
    }

    /// Registers it once and keeps nothing: whoever registered renews, or there is no lease.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn register_once(self, client: &Client) -> Result<(), Error> {
        client.register(&self.finish().0).await
    }

    fn finish(self) -> (ServiceRegistration, Duration) {
        let mut registration = self.registration;
        registration.lease = GoDuration(self.lease);
        if registration.id.is_empty() {
            registration.id = match registration.port {
                0 => registration.name.clone(),
                port => format!("{}-{port}", registration.name).into(),
            };
        }
        (registration, self.lease)
    }
}

impl Client {
    /// Registers whatever Consul's `agent/service/register` takes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn register(&self, registration: &ServiceRegistration) -> Result<(), Error> {
        let call = Call::put("/v1/agent/service/register?replace-existing-checks=true");
        self.transport.call(call.json(registration)?).await.map(drop)
    }

    /// Takes an instance of the daemon's node away. What is not there is away already.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn deregister(&self, id: &str) -> Result<(), Error> {
        let path = format!("/v1/agent/service/deregister/{}", crate::http::escape(id));
        match self.transport.call(Call::put(&path)).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Renews the lease of an instance of the daemon's node; how long it lasts now, zero when it has none.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_not_found`] when it is not registered (any more).
    pub async fn renew(&self, id: &str) -> Result<Duration, Error> {
        let path = format!("/v1/agent/service/renew/{}", crate::http::escape(id));
        let renewal = self.transport.call(Call::put(&path)).await?.json::<consul::own::Renewal>()?;
        Ok(Duration::from_millis(renewal.value.expires_in_ms))
    }
}

/// How the daemon finds out whether an instance works.
#[derive(Debug, Clone)]
pub struct Check(CheckRegistration);

impl Check {
    /// It accepts a TCP connection at `address`, `host:port`.
    pub fn tcp(address: impl ToString) -> Check {
        Check(active(CheckRegistration { tcp: address.to_string().into(), ..Default::default() }))
    }

    /// It answers `GET url` with a status of 2xx; 429 warns. Redirects are not followed.
    pub fn http(url: &str) -> Check {
        Check(active(CheckRegistration { http: url.into(), ..Default::default() }))
    }

    /// It answers the gRPC health protocol at `host:port`, or `host:port/service` for one service.
    pub fn grpc(address: &str) -> Check {
        Check(active(CheckRegistration { grpc: address.into(), ..Default::default() }))
    }

    /// A program leaves with status 0; 1 warns. The daemon's operator must have allowed programs.
    pub fn command<'a>(args: impl IntoIterator<Item = &'a str>) -> Check {
        let args = args.into_iter().map(Into::into).collect();
        Check(active(CheckRegistration { args, ..Default::default() }))
    }

    /// It reports by itself ([`Registration::report`]) at least every `term`.
    pub fn ttl(term: Duration) -> Check {
        Check(CheckRegistration { ttl: GoDuration(term), ..Default::default() })
    }

    /// Its id, unique on its host; by default made from the instance's.
    #[must_use]
    pub fn id(mut self, id: &str) -> Check {
        self.0.check_id = id.into();
        self
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(mut self, name: &str) -> Check {
        self.0.name = name.into();
        self
    }

    /// Time between two runs. 10 s by default.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Check {
        self.0.interval = GoDuration(interval);
        self
    }

    /// Longest that one run may take. 5 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Check {
        self.0.timeout = GoDuration(timeout);
        self
    }

    /// Header field of an HTTP check, beside those it has.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Check {
        self.0.header.entry(name.into()).or_default().push(value.into());
        self
    }

    /// Text that the first 4 KiB of the answer to an HTTP check must contain.
    #[must_use]
    pub fn body_match(mut self, text: &str) -> Check {
        self.0.body_match = text.into();
        self
    }

    /// TLS for a gRPC check, and for it and an HTTP check: any certificate will do.
    #[must_use]
    pub fn tls_skip_verify(mut self) -> Check {
        self.0.grpc_use_tls = !self.0.grpc.is_empty();
        self.0.tls_skip_verify = true;
        self
    }

    /// Results in a row before the status changes: to passing, to critical. 1 and 1 by default.
    #[must_use]
    pub fn thresholds(mut self, successes: u16, failures: u16) -> Check {
        self.0.success_before_passing = successes;
        self.0.failures_before_critical = failures;
        self
    }

    /// The status until the first result. Critical by default.
    #[must_use]
    pub fn initially(mut self, status: Status) -> Check {
        self.0.status = status.as_str().into();
        self
    }

    /// Takes the instance away when this check was critical for so long. The daemon counts from a minute.
    #[must_use]
    pub fn deregister_after(mut self, time: Duration) -> Check {
        self.0.deregister_critical_service_after = GoDuration(time);
        self
    }
}

fn active(check: CheckRegistration) -> CheckRegistration {
    let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(5));
    CheckRegistration { interval: GoDuration(interval), timeout: GoDuration(timeout), ..check }
}
