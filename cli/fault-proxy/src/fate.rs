//! What the proxy does with a request.

use bytes::Bytes;

/// What the proxy does with a request. "Cut" means that client and server both see the connection end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It passes, and so does its answer.
    Pass,
    /// It never reaches the server; the connection is cut.
    Lost,
    /// It never reaches the server, which isn't told that the client's side is cut: as if a cable had been pulled.
    LostUnnoticed,
    /// It reaches the server, and the connection is cut at once: the server works on it, and its answer is lost.
    Unanswered,
    /// As [`Unanswered`](Self::Unanswered), and from then on no connection reaches the server, as after
    /// [`Proxy::shut`](crate::Proxy::shut).
    UnansweredForGood,
    /// It reaches the server; once that begins to answer, the connection is cut, and nothing of the answer arrives.
    AnswerLost,
    /// It never reaches the server; these bytes are the answer, and the connection lives on.
    Answered(Bytes),
    /// It never reaches the server, and there is no answer for as long as the client waits for one.
    Ignored,
}
