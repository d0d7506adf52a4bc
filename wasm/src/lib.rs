//! The browser face of `tandem-client`: it converts and calls, and holds no rules.
//!
//! ```text
//!   page  ->  js/ (elements, session)  ->  Session  ->  Driver  ->  Failover (the machine)
//!   page  <-  js/ (one batch of events)  <-----------  Driver  <-  WebSockets, timer
//! ```
//!
//! All that crosses to JavaScript is JSON text, in batches: one call into the page for each input
//! that the machine was given. Where the session goes, what it resends and when it gives up is
//! decided in `tandem_protocol::failover`, in the same code that native clients run.

mod clock;
mod driver;
mod read;
mod socket;

use std::rc::Rc;
use std::time::Duration;

use tandem_client::protocol::limits::WRITE_DEADLINE;
use tandem_client::{Command, Input};
use wasm_bindgen::prelude::{JsError, wasm_bindgen};

use crate::driver::Driver;
use crate::read::{FromPage, Malformed, from_page};

fn refused(malformed: Malformed) -> JsError {
    JsError::new(&malformed.text())
}

/// A session of this page with the gateways.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Session {
    driver: Rc<Driver>,
}

#[wasm_bindgen]
impl Session {
    /// Makes a session; `listener` gets arrays of events as JSON. What an older page kept may not
    /// fit, and is then as good as nothing.
    ///
    /// # Errors
    /// A start that cannot be read.
    #[wasm_bindgen(constructor)]
    pub fn new(
        start: &str,
        saved: Option<String>,
        listener: js_sys::Function,
    ) -> Result<Session, JsError> {
        let FromPage::Start(start) = from_page(start).map_err(refused)? else {
            return Err(JsError::new("not a start"));
        };
        let resume = match saved.as_deref().map(from_page) {
            Some(Ok(FromPage::Saved(saved))) => Some(*saved),
            Some(_) | None => None,
        };
        Ok(Session { driver: Driver::new(start.options(resume, clock::seed()), listener) })
    }

    /// Lets the session begin: the first connection is opened.
    pub fn start(&self) {
        self.driver.turn(Input::Timeout);
    }

    /// Does an operation (JSON, as in the session protocol) and says its id; the outcome follows
    /// as an event. A deadline of zero or less is the usual one.
    ///
    /// # Errors
    /// An operation that cannot be read.
    pub fn operate(&self, operation: &str, deadline_ms: f64) -> Result<f64, JsError> {
        let FromPage::Operate(operation) = from_page(operation).map_err(refused)? else {
            return Err(JsError::new("not an operation"));
        };
        let deadline = match Duration::try_from_secs_f64(deadline_ms / 1000.0) {
            Ok(deadline) if !deadline.is_zero() => deadline,
            Ok(_) | Err(_) => WRITE_DEADLINE,
        };
        let id = self.driver.next_id();
        self.driver.turn(Input::Command(Command::Operate { operation, deadline }));
        #[expect(clippy::cast_precision_loss, reason = "ids count operations of one person")]
        Ok(id.0 as f64)
    }

    /// Sets the subscribed tags, all of them each time.
    pub fn subscribe(&self, tags: Vec<String>) {
        self.driver.turn(Input::Command(Command::Subscribe { tags }));
    }

    /// The page woke up, the network came back or the clock jumped: looks at once.
    pub fn probe(&self) {
        self.driver.turn(Input::Probe);
    }

    /// What to keep across a reload, as JSON; nothing before the session is bound.
    pub fn save(&self) -> Option<String> {
        self.driver.save().and_then(|saved| serde_json::to_string(&saved).ok())
    }

    /// Ends the session on purpose.
    pub fn close(&self) {
        self.driver.turn(Input::Command(Command::Close));
    }
}
