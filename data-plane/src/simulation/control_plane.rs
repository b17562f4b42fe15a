//! A control plane of the simulation: the real service's server and its promises (idempotent on the sequence, acknowledged
//! after the commit), over a book in the place of the database. It dies between any two of its steps.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use signalbox_model::{
    execution::Fact,
    record::{RecordBody, SequencedRecord},
};
use signalbox_proto::{
    convert::record,
    dataplane::v1::{
        RecordBatch, ReportRequest, ReportResponse,
        report_request::Message,
        report_service_server::{ReportService, ReportServiceServer},
    },
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    chance::Chance,
    network::{Life, Network},
    trace::Trace,
};

const MESSAGE_MAX_BYTES: usize = 32 * 1024 * 1024;

/// What became of one execution, as its records tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) accepted: u32,
    pub(super) started: u32,
    pub(super) finished: u32,
}

/// What is committed.
#[derive(Default)]
pub(super) struct Book {
    incarnation: Option<String>,
    /// Digest of each record, in the order of their sequences, which begin at 1.
    records: Vec<[u8; 32]>,
    pub(super) executions: BTreeMap<String, Told>,
}

impl Book {
    pub(super) fn cursor(&self) -> u64 {
        self.records.len() as u64
    }

    /// Commits a batch. Whatever is not exactly as promised is told.
    fn commit(&mut self, incarnation: &str, batch: &[SequencedRecord]) -> Result<(), String> {
        let known = self
            .incarnation
            .get_or_insert_with(|| incarnation.to_owned());
        if known != incarnation {
            return Err("the node's spool has another incarnation".to_owned());
        }
        for SequencedRecord { sequence, record } in batch {
            let text = serde_json::to_vec(record).map_err(|error| error.to_string())?;
            let digest = *blake3::hash(&text).as_bytes();
            match self.cursor() + 1 {
                next if *sequence > next => {
                    return Err(format!("record {sequence} came, and {next} never did"));
                }
                next if *sequence == next => {
                    self.records.push(digest);
                    self.fold(&record.body)?;
                }
                _ => {
                    let at = usize::try_from(sequence - 1).unwrap_or(usize::MAX);
                    if self.records.get(at) != Some(&digest) {
                        return Err(format!("record {sequence} came again, and is another one"));
                    }
                }
            }
        }
        Ok(())
    }

    fn fold(&mut self, body: &RecordBody) -> Result<(), String> {
        let (name, of): (_, fn(&mut Told) -> &mut u32) = match body {
            RecordBody::Accepted(accepted) => (&accepted.execution, |told| &mut told.accepted),
            RecordBody::Execution { execution, fact } => match fact {
                Fact::Started => (execution, |told| &mut told.started),
                Fact::Finished { .. } => (execution, |told| &mut told.finished),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let told = self.executions.entry(name.to_string()).or_default();
        let count = of(told);
        *count += 1;
        if *count > 1 {
            return Err(format!("{name} was told twice: {told:?}"));
        }
        if told.accepted == 0 {
            return Err(format!("{name} went on before it was accepted"));
        }
        Ok(())
    }
}

/// The control plane; it can die and be started again.
pub(super) struct ControlPlane {
    pub(super) book: Arc<Mutex<Book>>,
    network: Arc<Network>,
    chance: Chance,
    trace: Arc<Trace>,
    running: Option<(Life, JoinHandle<()>)>,
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ControlPlane {
    pub(super) fn new(network: Arc<Network>, chance: Chance, trace: Arc<Trace>) -> Self {
        Self {
            book: Arc::default(),
            network,
            chance,
            trace,
            running: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(&self.running, Some((life, _)) if !life.is_over())
    }

    pub(super) fn start(&mut self) {
        let life = Life::default();
        let incoming = UnboundedReceiverStream::new(self.network.listen(&life));
        let service = Service {
            book: self.book.clone(),
            life: life.clone(),
            chance: self.chance.clone(),
            trace: self.trace.clone(),
            network: self.network.clone(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(
                ReportServiceServer::new(service).max_decoding_message_size(MESSAGE_MAX_BYTES),
            )
            .serve_with_incoming(incoming);
        self.trace.note(format_args!("the control plane starts"));
        let task = tokio::spawn(async move {
            let _ = server.await;
        });
        self.running = Some((life, task));
    }

    pub(super) fn kill(&mut self, tells: bool) {
        if let Some((life, task)) = self.running.take() {
            self.trace.note(format_args!("the control plane dies"));
            self.network.end(&life, tells);
            task.abort();
        }
    }
}

#[derive(Clone)]
struct Service {
    book: Arc<Mutex<Book>>,
    life: Life,
    chance: Chance,
    trace: Arc<Trace>,
    network: Arc<Network>,
}

type Answer = Result<ReportResponse, Status>;

impl Service {
    async fn follow(
        self,
        mut incoming: Streaming<ReportRequest>,
        outgoing: mpsc::Sender<Answer>,
    ) -> Result<(), Status> {
        let gone = || Status::unavailable("gone");
        let first = incoming.message().await?.ok_or_else(gone)?;
        let Some(Message::Hello(hello)) = first.message else {
            return Err(Status::invalid_argument("no hello"));
        };
        self.answer(&outgoing).await?;
        while let Some(request) = incoming.message().await? {
            let Some(Message::Batch(RecordBatch { records })) = request.message else {
                continue;
            };
            let batch: Vec<SequencedRecord> = records
                .into_iter()
                .map(|wire| record::from_wire(wire).map_err(|e| Status::internal(e.to_string())))
                .collect::<Result<_, _>>()?;
            tokio::time::sleep(self.chance.ms(0..30)).await;
            let dies = self.chance.of(0..40);
            if dies == 0 {
                self.die("before");
            }
            if self.life.is_over() {
                return Err(gone());
            }
            let committed = lock(&self.book).commit(&hello.incarnation, &batch);
            if let Err(broken) = committed {
                self.trace.broken(broken);
            }
            self.trace.note(format_args!(
                "the control plane commits up to {}",
                lock(&self.book).cursor()
            ));
            if dies == 1 {
                self.die("after");
                return Err(gone());
            }
            self.answer(&outgoing).await?;
        }
        Ok(())
    }

    fn die(&self, when: &str) {
        self.trace
            .note(format_args!("the control plane dies {when} its commit"));
        self.network.end(&self.life, self.chance.flip(0.5));
    }

    /// Says what is committed.
    async fn answer(&self, to: &mpsc::Sender<Answer>) -> Result<(), Status> {
        tokio::time::sleep(self.chance.ms(0..10)).await;
        let durable_sequence = i64::try_from(lock(&self.book).cursor()).unwrap_or(i64::MAX);
        let answer = Ok(ReportResponse {
            durable_sequence,
            ..ReportResponse::default()
        });
        to.send(answer)
            .await
            .map_err(|_| Status::unavailable("gone"))
    }
}

#[tonic::async_trait]
impl ReportService for Service {
    type ReportStream = ReceiverStream<Answer>;

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let (outgoing, stream) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move {
            if let Err(status) = service.follow(request.into_inner(), outgoing.clone()).await {
                let _ = outgoing.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
