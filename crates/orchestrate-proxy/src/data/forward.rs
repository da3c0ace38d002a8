//! One request, from the client to an instance and its answer back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use super::body::{Download, Fault, RequestBody, ResponseBody};
use super::client::{Busy, Client};
use super::exchange::{Exchange, Failure, peek_frame};
use super::gate::Protocol;
use super::leash::Pulled;
use super::refusal::{self, Refusal};
use super::request::{Facts, Peer, prepare};
use super::worker::{Site, Worker};
use super::{response, tunnel};
use crate::table::{Instance, Lane, Placed, Seat, Ticket, Turned};

/// A client's connection at one listening address.
pub(super) struct Visit {
    worker: Rc<Worker>,
    site: Rc<Site>,
    client: Rc<Client>,
    peer: Peer,
    protocol: Protocol,
}

impl Visit {
    pub fn new(
        worker: Rc<Worker>,
        site: Rc<Site>,
        client: Rc<Client>,
        peer: SocketAddr,
        protocol: Protocol,
    ) -> Self {
        Self { worker, site, client, peer: Peer::new(peer.ip()), protocol }
    }
}

/// Answers a request, whatever happens.
pub(super) async fn forward(
    visit: Rc<Visit>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let started = Instant::now();
    let asked_upgrade = visit.protocol == Protocol::Http1 && request.headers().contains_key(header::UPGRADE);
    let mut answer = enter(&visit, request, started).await.unwrap_or_else(Refusal::response);
    // Behind a head that asked for another protocol nothing is guarded, so nothing may follow, whoever answers.
    // Where another proxy has taken over, the client's next request is for that one; at the end, for whoever comes next.
    let last = visit.worker.is_leaving() && visit.protocol == Protocol::Http1;
    if (asked_upgrade || last) && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

/// Finds the release that answers, and counts what came of it.
async fn enter(
    visit: &Visit,
    request: Request<Incoming>,
    started: Instant,
) -> Result<Response<ResponseBody>, Refusal> {
    let busy = visit.client.begin();
    let ticket = admit(visit, request.headers())?;
    // The counters outlive the ticket, which a body takes with it.
    let mut counted = Arc::clone(&ticket.placed);
    let answer = attend(visit, request, ticket, busy, &mut counted).await.unwrap_or_else(Refusal::response);
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    counted.load.counters.record(visit.worker.thread, answer.status().as_u16(), micros);
    Ok(answer)
}

fn admit(visit: &Visit, headers: &HeaderMap) -> Result<Ticket, Refusal> {
    visit.site.environment.enter(headers, &visit.worker.shared.token).map_err(|turned| match turned {
        Turned::Nobody => refusal::NO_RELEASE,
        Turned::Unknown => refusal::NO_VERSION,
    })
}

async fn attend(
    visit: &Visit,
    mut request: Request<Incoming>,
    mut ticket: Ticket,
    busy: Busy,
    counted: &mut Arc<Placed>,
) -> Result<Response<ResponseBody>, Refusal> {
    let limits = &visit.worker.shared.limits;
    let on_upgrade =
        request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    let facts = prepare(&mut parts, &visit.peer, visit.worker.shared.token.as_bytes(), &visit.site.name)?;
    if limits.max_body.is_some_and(|most| incoming.size_hint().lower() > most) {
        return Err(refusal::TOO_LONG);
    }
    let fault = Fault::default();
    let body = RequestBody::new(incoming, limits.max_body, &fault);
    if !body.is_empty() && body.size_hint().exact().is_none() {
        // Unasked, the client's side of the library sends no body of unknown length with GET and HEAD.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let on_upgrade = on_upgrade.filter(|_| facts.upgrade);
    let answered = deliver(visit, &mut ticket, Request::from_parts(parts, body), &facts).await;
    *counted = Arc::clone(&ticket.placed);
    let (response, exchange, seat) = answered.map_err(|refusal| fault.get().unwrap_or(refusal))?;
    let placement = ticket.placed.placement.clone_if(facts.proof_asked);
    let cookie = ticket.cookie.take();
    let mut response = answer(visit, response, exchange, (ticket, seat, busy), on_upgrade);
    if let Some(placement) = placement {
        response::sign(&mut response, &placement);
    }
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

trait CloneIf: Clone {
    fn clone_if(&self, wanted: bool) -> Option<Self> {
        wanted.then(|| self.clone())
    }
}

impl CloneIf for orchestrate_core::ports::Placement {}

type Answered = (Response<Incoming>, Box<Exchange>, Seat);

/// Sends the request to an instance of the release; to another one, as long as nothing of it was sent. Where none can be
/// reached it waits a little: one that ended is being started again, or another release is about to get the traffic.
async fn deliver(
    visit: &Visit,
    ticket: &mut Ticket,
    mut request: Request<RequestBody>,
    facts: &Facts,
) -> Result<Answered, Refusal> {
    let limits = &visit.worker.shared.limits;
    // Who asks for a proof wants to know how it is now.
    let mut patience = Patience::new(if facts.proof_asked { Duration::ZERO } else { limits.unreachable });
    let (mut tried, mut fresh) = (Vec::new(), false);
    loop {
        let lane = ticket.placed.lane(&visit.site.process).ok_or(refusal::NO_RELEASE)?;
        let Some(instance) = lane.choose(&tried) else {
            if tried.is_empty() {
                return Err(refusal::NO_RELEASE);
            }
            if !patience.pause().await {
                return Err(refusal::UNREACHABLE);
            }
            if !visit.site.environment.is_current(ticket) {
                *ticket = admit(visit, request.headers())?;
            }
            tried.clear();
            continue;
        };
        let seat = Seat::take(instance);
        let pooled = if fresh { None } else { visit.worker.pool.take(seat.instance()) };
        let mut exchange = match pooled {
            Some(exchange) => exchange,
            None => match connect(&visit.worker, lane, seat.instance()).await {
                Some(exchange) => exchange,
                None => {
                    tried.push(seat.instance().key);
                    continue;
                }
            },
        };
        exchange.leash.attach(&ticket.placed.load);
        if ticket.is_cut() {
            return Err(refusal::CUT);
        }
        exchange.leash.arm(limits.response_header);
        request.body_mut().tie(&exchange.leash, limits.response_header);
        // An unused connection may have been closed just now; what can be asked twice is kept for that.
        let spare = (exchange.used && facts.safe && request.body().is_empty()).then(|| Spare::of(&request));
        let reused = exchange.used;
        match exchange.send(request).await {
            Ok(response) => return Ok((response, exchange, seat)),
            Err(Failure::Pulled(Pulled::Cut)) => return Err(refusal::CUT),
            Err(Failure::Pulled(Pulled::TimedOut)) => return Err(refusal::LATE),
            Err(Failure::Unsent(again)) => {
                // A new connection that ends before it takes anything is as good as none.
                if !reused {
                    tried.push(seat.instance().key);
                }
                request = *again;
            }
            Err(Failure::Broken) => match spare {
                Some(spare) => request = spare.request(),
                None => return Err(refusal::BROKEN),
            },
        }
        fresh = true;
    }
}

/// Ever longer pauses, until a time is over that begins with the first of them.
struct Patience {
    limit: Duration,
    ends: Option<Instant>,
    next: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, ends: None, next: Duration::from_millis(5) }
    }

    /// False, and at once, where the time is over.
    async fn pause(&mut self) -> bool {
        let now = Instant::now();
        let left = self.ends.get_or_insert(now + self.limit).saturating_duration_since(now);
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(self.next.min(left)).await;
        self.next = (self.next * 2).min(Duration::from_millis(80));
        true
    }
}

async fn connect(worker: &Worker, lane: &Lane, instance: &Instance) -> Option<Box<Exchange>> {
    match Exchange::connect(instance.address, worker.shared.limits.connect, &worker.leashes).await {
        Ok(exchange) => {
            instance.connected();
            Some(exchange)
        }
        Err(error) => {
            // Running out of ports or of descriptors here says nothing about the instance.
            use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, TimedOut};
            if matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | TimedOut) {
                lane.connect_failed(instance);
            }
            None
        }
    }
}

/// The head of a request without a body, kept to send it once more.
struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Spare {
    fn of(request: &Request<RequestBody>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

fn answer(
    visit: &Visit,
    mut response: Response<Incoming>,
    exchange: Box<Exchange>,
    (ticket, seat, busy): (Ticket, Seat, Busy),
    on_upgrade: Option<OnUpgrade>,
) -> Response<ResponseBody> {
    response::strip(&mut response);
    let (parts, incoming) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(on_upgrade) = on_upgrade else { return refusal::BROKEN.response() };
        let limit = visit.worker.shared.limits.tunnel_idle;
        tokio::task::spawn_local(tunnel::splice(on_upgrade, exchange, (ticket, seat, busy), limit));
        return Response::from_parts(parts, ResponseBody::Empty);
    }
    Response::from_parts(parts, body(visit, incoming, exchange, (ticket, seat, busy)))
}

/// A short body has come with its head: then the connection is free again before the client has the answer.
fn body(
    visit: &Visit,
    mut incoming: Incoming,
    exchange: Box<Exchange>,
    (ticket, seat, busy): (Ticket, Seat, Busy),
) -> ResponseBody {
    let worker = &visit.worker;
    if incoming.is_end_stream() {
        worker.put_back(seat.instance(), exchange);
        return ResponseBody::Empty;
    }
    let first = match peek_frame(&mut incoming) {
        Poll::Ready(Some(Ok(frame))) => Some(frame),
        Poll::Ready(None) => {
            worker.put_back(seat.instance(), exchange);
            return ResponseBody::Empty;
        }
        Poll::Ready(Some(Err(_))) | Poll::Pending => None,
    };
    if incoming.is_end_stream() {
        match first.map(hyper::body::Frame::into_data) {
            Some(Ok(bytes)) => {
                worker.put_back(seat.instance(), exchange);
                return ResponseBody::Whole(bytes);
            }
            Some(Err(frame)) => return stream(worker, Some(frame), incoming, exchange, (ticket, seat, busy)),
            None => return stream(worker, None, incoming, exchange, (ticket, seat, busy)),
        }
    }
    stream(worker, first, incoming, exchange, (ticket, seat, busy))
}

fn stream(
    worker: &Rc<Worker>,
    first: Option<hyper::body::Frame<bytes::Bytes>>,
    incoming: Incoming,
    exchange: Box<Exchange>,
    (ticket, seat, busy): (Ticket, Seat, Busy),
) -> ResponseBody {
    exchange.leash.arm(worker.shared.limits.stall);
    let worker = Rc::clone(worker);
    let exchange = Some(exchange);
    let _counted = (ticket, busy);
    ResponseBody::Stream(Box::new(Download { first, incoming, exchange, seat, worker, _counted }))
}
