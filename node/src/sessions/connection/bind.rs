//! A connection gets a session: opened anew, or resumed with its token.
//!
//! A node that was started for the first time is active a moment before its projects are in the
//! store. A client that opens a page then waits for them, for a bounded time: `no_such_page` would
//! end it for good.

use std::sync::Arc;
use std::time::Duration;

use tandem_protocol::event::EventPosition;
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::gateway::output::Answer;
use tandem_protocol::item::Kind;
use tandem_protocol::limits::OUTCOMES_MAX;
use tandem_protocol::node::SyncState;
use tandem_protocol::runtime::events;
use tandem_protocol::runtime::records::{self, SessionRecord};
use tandem_protocol::session::{Outcome, SessionId, Token, WriteId};
use tandem_protocol::wire::session::{Bound, CloseReason, Object, ServerMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::requests::{Finished, Running, Session};
use super::{Connection, End, Flow, Mode, RETRY, Stance, Told};
use crate::projects::PROJECT;
use crate::sessions::hub::{hash, secret};

/// An open waits so long for a project that is still being loaded.
const LOADING_MAX: Duration = Duration::from_secs(5);
/// It looks again this often.
const LOADING_LOOK: Duration = Duration::from_millis(50);

/// A session on its way.
#[derive(Debug)]
pub(super) struct Opening {
    session: SessionId,
    token: Token,
    request: Request,
    answer: Option<Answer>,
    asked: bool,
    since: Instant,
}

/// Where a session's user is.
struct Place {
    project: String,
    page: String,
    params: Object,
    props: Object,
}

impl Place {
    fn of(record: SessionRecord) -> Place {
        let (params, props) = (record.params(), record.props());
        Place { project: record.project, page: record.page, params, props }
    }
}

/// Whether the project that is asked for may still be on its way into the store: there is none at
/// all yet, or its own file, which comes last, is missing.
fn is_loading(config: &Items, request: &Request) -> bool {
    let Request::Open { project, .. } = request else { return false };
    let names = config.keys().filter(|key| key.provider == PROJECT).map(|key| &key.key);
    let (mut any, mut begun, mut whole) = (false, false, false);
    for name in names {
        let of_project = name.strip_prefix(project.as_str()).and_then(|n| n.strip_prefix('/'));
        any |= name.ends_with("/project.toml");
        begun |= of_project.is_some();
        whole |= of_project == Some("project.toml");
    }
    !any || (begun && !whole)
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(super) async fn open(
        &mut self,
        project: String,
        page: String,
        params: Object,
        props: Object,
    ) -> Flow {
        if matches!(self.mode, Mode::Bound(_)) || self.opening.is_some() {
            let detail = "this connection has a session".to_owned();
            return Err(End::Close(CloseReason::Unexpected, detail));
        }
        if self.stance() == Stance::Standby {
            return self.say_standby().await;
        }
        if !self.hub.has_room() {
            let detail = format!("{} sessions", self.hub.options.sessions);
            return Err(End::Close(CloseReason::Limit, detail));
        }
        let (Some(session), Some(token)) = (secret(16), secret(32)) else {
            return Err(End::Close(CloseReason::Limit, "no random bytes".to_owned()));
        };
        let (session, token) = (SessionId(session), Token(token));
        let request = Request::Open {
            session: session.clone(),
            token_hash: hash(&token),
            project,
            page,
            params,
            props,
        };
        self.opening = Some(Opening {
            session,
            token,
            request,
            answer: None,
            asked: false,
            since: Instant::now(),
        });
        Ok(())
    }

    /// Asks for the session, or binds it when the answer is there. Called while Active.
    pub(super) async fn advance_opening(&mut self) -> Flow {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let Some(opening) = &mut self.opening else { return Ok(()) };
        let Some(answer) = opening.answer.take() else {
            if !opening.asked {
                opening.asked = true;
                let (driver, request) = (self.hub.driver.clone(), opening.request.clone());
                let ask = async move { Finished::Opened(driver.request(request).await) };
                self.running = Some(Running::new(ask));
            }
            return Ok(());
        };
        match answer {
            Answer::Done { outcome: Outcome::Applied, .. } => {
                let Some(Opening { session, token, request, .. }) = self.opening.take() else {
                    return Ok(());
                };
                self.bind_opened(session, token, request).await
            }
            Answer::Done { outcome: Outcome::Rejected { reason }, .. } => {
                Err(End::Close(CloseReason::Limit, reason))
            }
            Answer::NoSuchPage
                if opening.since.elapsed() < LOADING_MAX
                    && is_loading(&self.hub.driver.items(Kind::Config), &opening.request) =>
            {
                opening.asked = false;
                self.retry_at = Some(Instant::now() + LOADING_LOOK);
                Ok(())
            }
            Answer::NoSuchPage => {
                let detail = match &opening.request {
                    Request::Open { project, page, .. } => format!("{project}/{page}"),
                    _ => String::new(),
                };
                Err(End::Close(CloseReason::NoSuchPage, detail))
            }
            Answer::Standby | Answer::Busy => {
                opening.asked = false;
                self.retry_at = Some(Instant::now() + RETRY);
                Ok(())
            }
            Answer::DiskFull => {
                let detail = "the disk is full: no new session can be kept".to_owned();
                Err(End::Close(CloseReason::Limit, detail))
            }
            Answer::NotStored => {
                let detail = "the disk failed: no new session can be kept".to_owned();
                Err(End::Close(CloseReason::Limit, detail))
            }
            Answer::Done { .. }
            | Answer::NoSession
            | Answer::NotMaster
            | Answer::Accepted
            | Answer::OtherTerm { .. }
            | Answer::Changed { .. }
            | Answer::Refused { .. } => {
                let detail = "this node cannot store a session".to_owned();
                Err(End::Close(CloseReason::Limit, detail))
            }
        }
    }

    pub(super) fn opened(&mut self, answer: Answer) {
        if let Some(opening) = &mut self.opening {
            opening.answer = Some(answer);
        }
    }

    /// Binds what was just opened. The answer may come a moment before its item is shown, so the
    /// session is told as it was asked for.
    async fn bind_opened(&mut self, session: SessionId, token: Token, request: Request) -> Flow {
        let Request::Open { project, page, params, props, .. } = request else { return Ok(()) };
        let kept = self.hub.driver.items(Kind::Kept);
        let cursor = events::last(&kept);
        let place = Place { project, page, params, props };
        let bound = self.bound(&kept, &session, place, token, cursor);
        self.bind(session, cursor, &bound);
        self.say(&ServerMessage::Opened(bound)).await
    }

    pub(super) async fn resume(
        &mut self,
        session: SessionId,
        token: Token,
        last_event: Option<EventPosition>,
        nonce: Option<&str>,
        tags: &[String],
    ) -> Flow {
        if self.opening.is_some() {
            let detail = "a session is being opened here".to_owned();
            return Err(End::Close(CloseReason::Unexpected, detail));
        }
        if self.stance() == Stance::Standby {
            return self.say_standby().await;
        }
        let kept = self.hub.driver.items(Kind::Kept);
        let Some(record) = records::session(&kept, &session) else {
            // The client opens it anew with what it has.
            return self.say(&ServerMessage::Forgotten { session }).await;
        };
        let own = self.hub.hand_over(&session, &token, nonce);
        let token = match own {
            Some(own) => own,
            None if hash(&token) == record.token_hash => token,
            None => return Err(End::Close(CloseReason::BadToken, String::new())),
        };
        self.unbind(Mode::Fresh, false);
        let known = last_event.unwrap_or_default();
        let complete = self.hub.driver.status().sync != SyncState::OutOfDate;
        let recovered = complete && events::reaches(&kept, known);
        let cursor = if recovered { known } else { events::last(&kept) };
        let (floor, highest) = (record.floor, record.highest);
        let mut bound = self.bound(&kept, &session, Place::of(record), token, cursor);
        self.bind(session.clone(), cursor, &bound);
        if !tags.is_empty() {
            self.follow(tags)?;
            bound.subscribed = true;
        }
        self.say(&ServerMessage::Resumed { recovered, highest, bound }).await?;
        if nonce.is_some() {
            self.say_recorded(&kept, &session, floor, highest).await?;
        }
        Ok(())
    }

    /// A page that came by a hand-over token hears the outcomes that its page before had no time
    /// to hear.
    async fn say_recorded(
        &mut self,
        kept: &Items,
        session: &SessionId,
        floor: WriteId,
        highest: WriteId,
    ) -> Flow {
        let most = u64::try_from(OUTCOMES_MAX).unwrap_or(u64::MAX);
        let first = floor.0.max(highest.0.saturating_sub(most)) + 1;
        let in_sync = self.hub.driver.status().peer.as_ref().is_some_and(|p| p.in_sync);
        let copies = if in_sync { 2 } else { 1 };
        for id in (first..=highest.0).map(WriteId) {
            if let Some(outcome) = records::outcome(kept, session, id) {
                self.say(&ServerMessage::Outcome { id, copies, outcome }).await?;
            }
        }
        Ok(())
    }

    async fn say_standby(&mut self) -> Flow {
        self.unbind(Mode::Watch(None), false);
        self.tell_watch().await
    }

    fn bind(&mut self, session: SessionId, cursor: EventPosition, bound: &Bound) {
        self.hub.attach(&session, self.id, &self.mailbox);
        tracing::debug!(connection = self.id, %session, page = bound.page, "session bound");
        let mut session = Session::new(session, cursor);
        let (status, stood) =
            (Arc::new((*bound.status).clone()), Arc::clone(&self.standing.borrow().status));
        session.heard = Some(Told { active: true, status, stood });
        self.mode = Mode::Bound(Box::new(session));
        self.retry_at = None;
    }

    fn bound(
        &self,
        kept: &Items,
        session: &SessionId,
        place: Place,
        token: Token,
        cursor: EventPosition,
    ) -> Bound {
        let clock = self.hub.driver.clock();
        // Behind a proxy there is nothing to navigate to.
        let handover = if self.via_proxy { None } else { self.hub.issue(session, &token) };
        Bound {
            session: session.clone(),
            token,
            handover,
            project: place.project,
            page: place.page,
            params: place.params,
            props: place.props,
            alarms: records::open_alarms(&self.hub.definitions(), kept),
            last_event: cursor,
            clock: clock.session(clock.now()),
            status: Box::new((*self.standing.borrow().status).clone()),
            via_proxy: self.via_proxy,
            subscribed: false,
        }
    }
}
