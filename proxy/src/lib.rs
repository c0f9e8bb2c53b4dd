//! TCP proxies that break a connection at a chosen moment: what `towpath chaos` and the tests put between two parts to
//! lose a request, an answer, a COMMIT or an acknowledgement on purpose.
