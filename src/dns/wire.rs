//! One question to one server: over UDP, and over TCP where that isn't enough; or over TLS.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_net::{
    NetError,
    proto::op::{DnsRequest, DnsRequestOptions, Message, Query},
    runtime::TokioRuntimeProvider,
    tcp::TcpClientStream,
    tls::tls_exchange,
    udp::UdpClientStream,
    xfer::{DnsHandle, DnsRequestSender, FirstAnswer},
};
use rustls::{ClientConfig, pki_types::ServerName};

use super::{
    pace::Pace,
    reply::{Failure, Reply, Role, Said, keep_relevant},
    trip::{Server, Trip},
};

/// How long one try over UDP may take, with one repetition in it, and how long one over TCP or TLS.
const TRY: Duration = Duration::from_millis(2500);
const REPEAT_MILLISECONDS: u64 = 1000;
const REPETITIONS: u8 = 1;
/// As much as no path fragments (RFC 9715).
const PAYLOAD: u16 = 1232;
/// How many questions a second one server is asked, and how many at once. Many: a provider's servers
/// serve many domains.
const PER_SERVER: (u32, u32) = (1000, 1000);

/// How questions are put.
pub struct Wire {
    provider: TokioRuntimeProvider,
    /// With DNS over TLS: who the server must be, and whose word is taken for it.
    tls: Option<(ServerName<'static>, ClientConfig)>,
    /// Whether to ask for what others know (recursive resolvers), or for what is their own.
    recursion: bool,
    per_server: Pace<IpAddr>,
}

impl Wire {
    pub fn new(recursion: bool, tls: Option<(ServerName<'static>, ClientConfig)>) -> Self {
        let (rate, burst) = PER_SERVER;
        let per_server = Pace::new(rate, burst);
        Self { provider: TokioRuntimeProvider::new(), tls, recursion, per_server }
    }

    /// Ask a server, and read what it says as that of one who has this role. Another address of the
    /// same server is tried only if this one can't be reached.
    pub async fn ask(
        &self,
        trip: &Trip,
        server: &Server,
        question: &Query,
        role: Role<'_>,
    ) -> Said {
        let mut said = Err(Failure::NoAddress);
        for address in &server.addresses {
            let asked = Instant::now();
            let message = match trip.may_ask(server, *address) {
                Ok(()) => self.exchange(*address, question).await,
                Err(failure) => Err(failure),
            };
            said = message.and_then(|message| {
                let reply = Reply::read(&message, question, role)?;
                Ok((reply, Arc::new(keep_relevant(message, question)?)))
            });
            trip.record(server, *address, question, &said, asked);
            if !matches!(said, Err(Failure::Unreachable | Failure::Private)) {
                break;
            }
        }
        said
    }

    /// Source port and id are random, and so is the case of the name, which the answer must repeat
    /// (0x20); what doesn't fit the question isn't listened to.
    async fn exchange(&self, server: SocketAddr, question: &Query) -> Result<Message, Failure> {
        self.per_server.turn(&server.ip()).await;
        if let Some((name, config)) = &self.tls {
            let (name, config) = (name.clone(), config.clone());
            let exchange = tls_exchange(server, name, config, TRY, Some(1), self.provider.clone());
            return self.over(exchange, question).await;
        }
        match self.over_udp(server, question).await {
            Ok(message) if !message.metadata.truncation => Ok(message),
            Err(error) if !by_tcp(&error) => Err(failure(&error)),
            // cut, lost, or with letters of another case: TCP is cut by nobody and hard to forge
            _ => {
                let provider = self.provider.clone();
                let exchange = TcpClientStream::exchange(server, None, TRY, Some(1), provider);
                self.over(exchange, question).await
            }
        }
    }

    async fn over_udp(&self, server: SocketAddr, question: &Query) -> Result<Message, NetError> {
        let mut stream = UdpClientStream::builder(server, self.provider.clone())
            .with_timeout(Some(TRY))
            .with_max_retries(REPETITIONS)
            .with_retry_interval_floor(REPEAT_MILLISECONDS)
            .build();
        let answer = stream.send_message(self.request(question, true)).first_answer().await?;
        Ok(answer.into_message())
    }

    async fn over<H: DnsHandle>(
        &self,
        exchange: impl Future<Output = Result<H, NetError>>,
        question: &Query,
    ) -> Result<Message, Failure> {
        let answer = async {
            let request = self.request(question, false);
            exchange.await?.send(request).first_answer().await
        };
        match tokio::time::timeout(TRY, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_message()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::Timeout),
        }
    }

    fn request(&self, question: &Query, randomize: bool) -> DnsRequest {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_payload_len = PAYLOAD;
        options.edns_set_dnssec_ok = true;
        options.recursion_desired = self.recursion;
        options.case_randomization = randomize;
        let mut request = DnsRequest::from_query(question.clone(), options);
        // signatures are checked here, where what is wrong can be told from what failed
        request.metadata.checking_disabled = self.recursion;
        request
    }
}

/// Whether TCP may help.
fn by_tcp(error: &NetError) -> bool {
    matches!(error, NetError::QueryCaseMismatch) || failure(error) == Failure::Timeout
}

fn failure(error: &NetError) -> Failure {
    match error {
        NetError::Timeout => Failure::Timeout,
        NetError::Io(error) => match error.kind() {
            ErrorKind::TimedOut => Failure::Timeout,
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Failure::Malformed,
            _ => Failure::Unreachable,
        },
        NetError::NoConnections | NetError::Busy | NetError::RustlsError(_) => Failure::Unreachable,
        _ => Failure::Malformed,
    }
}
