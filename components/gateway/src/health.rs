//! `GET /healthz`: the edge and the gateway respond. It says nothing of the services behind them.

use serde_json::json;
use towpath_sdk::Response;

/// 200.
pub(crate) fn health() -> Response {
    Response::json(200, &json!({"status": "ok"}))
}
