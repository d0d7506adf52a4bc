//! What every request has in common, and the first step of its way.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tandem_protocol::node::NodeId;
use tandem_protocol::term::Term;

use crate::body::ReplyBody;
use crate::hold::Hold;
use crate::local::news::News;
use crate::local::turns::{Turn, Turns};
use crate::options::Options;
use crate::pair::{Pair, View};
use crate::pool::Pool;
use crate::route::{Route, route};
use crate::{forward, limits, reply, websocket};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is known of the nodes.
    pub(crate) pair: Rc<Pair>,
    /// Requests that wait.
    pub(crate) hold: Rc<Hold>,
    /// Connections to the nodes, in the order of the options.
    pub(crate) pools: Vec<Rc<Pool>>,
    /// Session sockets that are connected to a new node at the moment.
    pub(crate) rehomed: Rc<Turns>,
    /// Where frames are read to; used between two waits only.
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    /// Published once, when the proxy stops.
    pub(crate) stopping: Rc<News>,
    /// As the option says.
    pub(crate) trust_forwarded: bool,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its place among all connections; a WebSocket keeps it.
    pub(crate) place: Rc<Turn>,
}

impl Shared {
    /// Everything, at its beginning.
    pub(crate) fn new(options: &Options) -> Rc<Shared> {
        let pair = Pair::new(options.nodes.len());
        Rc::new(Shared {
            hold: Hold::new(Rc::clone(&pair), options),
            pools: options.nodes.iter().cloned().map(Pool::new).collect(),
            rehomed: Turns::new(limits::REHOMED_AT_ONCE),
            read_buffer: RefCell::new(vec![0; limits::READ_BUFFER_BYTES].into_boxed_slice()),
            stopping: Rc::default(),
            trust_forwarded: options.trust_forwarded,
            pair,
        })
    }
}

/// One request, from its head to the head of its response.
pub(crate) async fn serve(
    shared: Rc<Shared>,
    client: Client,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    match route(&request) {
        Route::Forward => forward::forward(&shared, &client, request).await,
        Route::Session => websocket::session(&shared, &client, request).await,
        Route::Bridge => websocket::bridge(&shared, &client, request).await,
        Route::Health => health(&shared),
        Route::Refused { status, word, sentence } => reply::error(status, word, sentence),
    }
}

/// What the proxy knows of the pair: 200 while it leads to a node, else 503.
fn health(shared: &Shared) -> Response<ReplyBody> {
    #[derive(Serialize)]
    struct Node<'a> {
        address: &'a str,
        #[serde(flatten)]
        view: View,
    }
    #[derive(Serialize)]
    struct Health<'a> {
        active: Option<NodeId>,
        term: Option<Term>,
        waiting: usize,
        nodes: Vec<Node<'a>>,
    }
    let active = shared.pair.active();
    let nodes = shared.pools.iter().zip(shared.pair.views());
    let health = Health {
        active: active.as_ref().map(|a| a.node.clone()),
        term: active.as_ref().map(|a| a.term.clone()),
        waiting: shared.hold.waiting(),
        nodes: nodes
            .map(|(pool, view)| Node { address: pool.address().authority(), view })
            .collect(),
    };
    let status = if active.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::json(status, &health)
}
