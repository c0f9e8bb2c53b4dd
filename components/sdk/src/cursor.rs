//! Cursors of keyset pages: opaque to clients. A cursor that was changed or belongs to another list is refused.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Invalid, Problem, parse};

const CHECK_BYTES: usize = 8;
const MAX_CHARS: usize = 1024;

/// The position in a list after which the next page begins.
///
/// It holds the keys of the last row, and a checksum over them and the list's name and filters. The checksum is not a
/// signature: a forged cursor only starts at another row of a list that its client may read anyway.
///
/// ```
/// use towpath_sdk::Cursor;
///
/// let cursor = Cursor::encode("things?colour=red", &("A", 7));
/// assert_eq!(Cursor::decode::<(String, i64)>("things?colour=red", &cursor), Ok(("A".into(), 7)));
/// let problem = Cursor::decode::<(String, i64)>("things?colour=blue", &cursor).unwrap_err();
/// assert_eq!((problem.status, problem.code), (400, "invalid_cursor"));
/// ```
pub struct Cursor;

impl Cursor {
    /// The cursor of a row with these keys. `list` names the list with its filters, as in `products?sku=A`.
    pub fn encode(list: &str, keys: &impl Serialize) -> String {
        let mut bytes = serde_json::to_vec(keys).unwrap_or_default();
        let check = check(list, &bytes);
        bytes.extend_from_slice(&check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// 400 `invalid_cursor`.
    pub fn decode<T: DeserializeOwned>(list: &str, cursor: &str) -> Result<T, Problem> {
        let refused = || {
            Problem::bad_request("invalid_cursor", "The cursor is invalid, or belongs to a list with other filters.")
        };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
        let at = bytes.len().checked_sub(CHECK_BYTES).ok_or_else(refused)?;
        let (keys, found) = bytes.split_at(at);
        if found != check(list, keys) {
            return Err(refused());
        }
        serde_json::from_slice(keys).map_err(|_| refused())
    }

    /// A cursor as a query parameter, for [`Fields::optional`](crate::Fields::optional), not decoded yet.
    ///
    /// # Errors
    /// `wrong_type`, `too_long`.
    pub fn parameter(value: &Value) -> Result<String, Invalid> {
        parse::text(value, 1..=MAX_CHARS)
    }
}

fn check(list: &str, keys: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(list).chain_update([0]).chain_update(keys).finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_and_a_changed_one_is_refused(a in ".{0,20}", b: i64, at: prop::sample::Index, to in "[A-Za-z0-9_-]") {
            let cursor = Cursor::encode("things", &(&a, b));
            prop_assert_eq!(Cursor::decode::<(String, i64)>("things", &cursor), Ok((a, b)));
            let at = at.index(cursor.len());
            let mut changed = cursor.clone();
            changed.replace_range(at..=at, &to);
            if changed != cursor {
                let problem = Cursor::decode::<(String, i64)>("things", &changed).expect_err("refused");
                prop_assert_eq!((problem.status, problem.code), (400, "invalid_cursor"));
            }
        }

        #[test]
        fn garbage_is_refused(text in ".{0,64}") {
            prop_assert!(Cursor::decode::<Vec<String>>("things", &text).is_err());
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let cursor = Cursor::encode("things?colour=red", &("a",));
        assert!(Cursor::decode::<(String,)>("things?colour=blue", &cursor).is_err());
    }
}
