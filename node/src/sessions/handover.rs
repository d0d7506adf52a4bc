//! Hand-over tokens: a page of this node goes on with a session that another page resumed here.
//!
//! Each works once, for 30 s, and only on the node that made it: they are in memory. A repeat with
//! the same nonce is one use, since a page may be reloaded before it has heard the answer.

use std::collections::{HashMap, VecDeque};

use tandem_protocol::limits::{HANDOVER_TOKEN_LIFE, SESSIONS_MAX};
use tandem_protocol::session::{SessionId, Token};
use tandem_protocol::time::Instant;

/// Tokens at the same time: all sessions may move here at once, and each page once more.
const TOKENS_MAX: usize = 2 * SESSIONS_MAX;

/// The tokens that are out.
#[derive(Default)]
pub(super) struct Handovers {
    by_hash: HashMap<[u8; 32], Handover>,
    /// Oldest first.
    order: VecDeque<[u8; 32]>,
}

struct Handover {
    session: SessionId,
    token: Token,
    until: Instant,
    used: Option<Option<String>>,
}

impl Handovers {
    /// Remembers a token by its hash.
    pub(super) fn issue(
        &mut self,
        now: Instant,
        hash: [u8; 32],
        session: &SessionId,
        token: &Token,
    ) {
        while let Some(oldest) = self.order.front() {
            let live = self.by_hash.get(oldest).is_some_and(|handover| now < handover.until);
            if live && self.order.len() < TOKENS_MAX {
                break;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.by_hash.remove(&oldest);
            }
        }
        let until = now + HANDOVER_TOKEN_LIFE;
        let handover =
            Handover { session: session.clone(), token: token.clone(), until, used: None };
        self.by_hash.insert(hash, handover);
        self.order.push_back(hash);
    }

    /// The session's own token, if this is a hand-over token for it that may be used.
    pub(super) fn take(
        &mut self,
        now: Instant,
        hash: &[u8; 32],
        session: &SessionId,
        nonce: Option<&str>,
    ) -> Option<Token> {
        let handover = self.by_hash.get_mut(hash)?;
        if now >= handover.until || handover.session != *session {
            return None;
        }
        match &handover.used {
            None => handover.used = Some(nonce.map(str::to_owned)),
            Some(Some(used)) if Some(used.as_str()) == nonce => {}
            Some(_) => return None,
        }
        Some(handover.token.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tandem_protocol::session::{SessionId, Token};
    use tandem_protocol::time::Instant;

    use super::Handovers;

    #[test]
    fn a_token_is_used_once_and_not_late() {
        let mut handovers = Handovers::default();
        let (now, session) = (Instant::from_micros(5), SessionId("s".to_owned()));
        let token = Token("t".to_owned());
        for hash in 1..=4 {
            handovers.issue(now, [hash; 32], &session, &token);
        }
        let late = now + Duration::from_secs(30);
        let other = SessionId("x".to_owned());
        let rows = [
            (1, now, &session, Some("n"), true),
            (1, now, &session, Some("n"), true),
            (1, now, &session, Some("m"), false),
            (1, now, &session, None, false),
            (2, now, &session, None, true),
            (2, now, &session, None, false),
            (3, now, &other, None, false),
            (4, late, &session, None, false),
            (9, now, &session, None, false),
        ];
        for (hash, at, session, nonce, right) in rows {
            let taken = handovers.take(at, &[hash; 32], session, nonce);
            assert_eq!(taken.is_some(), right, "{hash} {nonce:?}");
        }
        handovers.issue(late, [5; 32], &session, &token);
        assert_eq!(handovers.by_hash.len(), 1, "what is too old is forgotten");
    }
}
