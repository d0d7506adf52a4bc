//! One WebSocket: opens it, hands on what it hears, and is silent once it is dropped.

use tandem_client::protocol::wire::session::{ClientMessage, SUBPROTOCOL};
use tandem_client::{ConnId, Input};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{CloseEvent, MessageEvent, WebSocket};

use crate::read::server_message;

/// An open or opening WebSocket. Dropping it detaches its handlers and closes it.
#[derive(Debug)]
pub(crate) struct Socket {
    ws: WebSocket,
    _opened: Closure<dyn FnMut()>,
    _heard: Closure<dyn FnMut(MessageEvent)>,
    _ended: Closure<dyn FnMut(CloseEvent)>,
}

impl Socket {
    /// Dials `url`'s `/session`. `tell` gets `Connected`, `Message` and, last, `Ended`.
    ///
    /// # Errors
    /// What the browser says about a URL that cannot be dialled.
    pub(crate) fn open(
        conn: ConnId,
        url: &str,
        tell: impl Fn(Input) + Clone + 'static,
    ) -> Result<Socket, String> {
        let ws = WebSocket::new_with_str(&session_url(url), SUBPROTOCOL)
            .map_err(|error| describe(&error))?;
        let opened = Closure::<dyn FnMut()>::new({
            let tell = tell.clone();
            move || tell(Input::Connected { conn })
        });
        let heard = Closure::<dyn FnMut(MessageEvent)>::new({
            let tell = tell.clone();
            move |event: MessageEvent| tell(read(conn, &event))
        });
        let ended = Closure::<dyn FnMut(CloseEvent)>::new(move |event: CloseEvent| {
            tell(Input::Ended { conn, why: farewell(&event) });
        });
        ws.set_onopen(Some(opened.as_ref().unchecked_ref()));
        ws.set_onmessage(Some(heard.as_ref().unchecked_ref()));
        ws.set_onclose(Some(ended.as_ref().unchecked_ref()));
        Ok(Socket { ws, _opened: opened, _heard: heard, _ended: ended })
    }

    /// Sends a message. What cannot be sent is followed by the socket's end.
    pub(crate) fn send(&self, message: &ClientMessage) {
        if let Ok(text) = serde_json::to_string(message) {
            // An error means that the socket is still opening or was refused a frame; in both
            // cases `Ended` follows, and the machine resends what matters.
            let _ = self.ws.send_with_str(&text);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.ws.set_onopen(None);
        self.ws.set_onmessage(None);
        self.ws.set_onclose(None);
        // Fails only for codes that are not ours to send; 1000 is the default.
        let _ = self.ws.close();
    }
}

fn session_url(base: &str) -> String {
    let base = base.trim_end_matches('/');
    let base = match base.strip_prefix("http") {
        Some(rest) => format!("ws{rest}"),
        None => base.to_owned(),
    };
    base + "/session"
}

fn read(conn: ConnId, event: &MessageEvent) -> Input {
    let Some(text) = event.data().as_string() else {
        return Input::Ended { conn, why: "the gateway sent a binary frame".to_owned() };
    };
    match server_message(&text) {
        Ok(message) => Input::Message { conn, message: Box::new(message) },
        Err(malformed) => {
            let why = "the gateway sent what is not a message: ".to_owned() + &malformed.text();
            Input::Ended { conn, why }
        }
    }
}

fn farewell(event: &CloseEvent) -> String {
    match (event.code(), event.reason()) {
        (1006, _) => "the connection was lost".to_owned(),
        (code, reason) if reason.is_empty() => format!("the gateway closed it ({code})"),
        (code, reason) => format!("the gateway closed it: {reason} ({code})"),
    }
}

fn describe(error: &wasm_bindgen::JsValue) -> String {
    js_sys::Reflect::get(error, &"message".into())
        .ok()
        .and_then(|message| message.as_string())
        .unwrap_or_else(|| "the browser does not dial it".to_owned())
}
