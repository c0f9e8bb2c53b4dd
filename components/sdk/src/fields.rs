//! Reads an untrusted JSON object, and reports every invalid field at once.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive};

use serde_json::{Map, Value};

use crate::{FieldError, Invalid, Problem};

/// The most invalid fields that a response lists: it must not be larger than the input.
const MAX_ERRORS: usize = 100;

/// The fields of one JSON object. A handler asks for each by name; invalid fields are collected, and a field that it did
/// not ask for is invalid too.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::{Fields, parse};
///
/// struct Thing {
///     name: String,
///     count: Option<i64>,
/// }
///
/// fn read(fields: &Fields<'_>) -> Option<Thing> {
///     let name = fields.required("name", |value| parse::text(value, 1..=200));
///     let count = fields.optional("count", |value| parse::integer(value, 1..=10));
///     Some(Thing { name: name?, count: count? })
/// }
///
/// let thing = Fields::read(&json!({"name": "Lamp"}), read).unwrap();
/// assert_eq!((thing.name.as_str(), thing.count), ("Lamp", None));
/// let problem = Fields::read(&json!({"count": 11, "colour": "red"}), read).err().unwrap();
/// let wrong: Vec<_> = problem.errors.iter().map(|error| (error.field.as_str(), error.code)).collect();
/// assert_eq!(wrong, [("name", "required"), ("count", "too_large"), ("colour", "unknown_field")]);
/// ```
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    prefix: String,
    errors: &'a RefCell<Vec<FieldError>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// What a merge patch (RFC 7396) does to a field.
///
/// ```
/// use towpath_sdk::Change;
///
/// assert_eq!(Change::Keep.apply(Some("old")), Some("old"));
/// assert_eq!(Change::Remove.apply(Some("old")), None);
/// assert_eq!(Change::Set("new").apply(Some("old")), Some("new"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// The patch does not name it: it stays as it is.
    #[default]
    Keep,
    /// The patch says `null`: it is removed.
    Remove,
    /// The patch has this new value.
    Set(T),
}

impl<T> Change<T> {
    /// The new value of an optional field.
    pub fn apply(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Remove => None,
            Self::Set(new) => Some(new),
        }
    }
}

impl<'a> Fields<'a> {
    /// Runs `read` over the object, and returns its result if every field is valid.
    ///
    /// Every getter of `Fields` returns `None` for an invalid field. Call all of them first and use `?` afterwards, so
    /// that every invalid field is reported.
    ///
    /// # Errors
    /// 422 `validation_failed` with every invalid field.
    pub fn read<T>(body: &Value, read: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Problem> {
        let errors = RefCell::new(Vec::new());
        let Some(object) = body.as_object() else {
            let detail = "must be an object".to_owned();
            return Err(Problem::invalid(vec![FieldError { field: "$".into(), code: "wrong_type", detail }]));
        };
        let fields = Fields { object, prefix: String::new(), errors: &errors, asked: RefCell::default() };
        let read = read(&fields);
        fields.refuse_unknown();
        match read {
            Some(read) if errors.borrow().is_empty() => Ok(read),
            None if errors.borrow().is_empty() => Err(Problem::internal("input was refused without a reason")),
            _ => Err(Problem::invalid(errors.into_inner())),
        }
    }

    /// A required field.
    pub fn required<T>(&self, name: &'static str, parse: impl FnOnce(&'a Value) -> Result<T, Invalid>) -> Option<T> {
        match self.value(name) {
            Some(value) => self.parsed(name, parse(value)),
            None => self.refuse(name, Invalid::new("required", "is required")),
        }
    }

    /// A field that may be absent or `null`: `Some(None)` then, `None` if it is invalid.
    pub fn optional<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&'a Value) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        match self.value(name) {
            Some(value) => self.parsed(name, parse(value)).map(Some),
            None => Some(None),
        }
    }

    /// A field of a merge patch.
    pub fn change<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&'a Value) -> Result<T, Invalid>,
    ) -> Option<Change<T>> {
        self.asked.borrow_mut().insert(name);
        match self.object.get(name) {
            None => Some(Change::Keep),
            Some(Value::Null) => Some(Change::Remove),
            Some(value) => self.parsed(name, parse(value)).map(Change::Set),
        }
    }

    /// A field of a merge patch that can't be removed: absent or a new value.
    pub fn replacement<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&'a Value) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        match self.change(name, parse)? {
            Change::Keep => Some(None),
            Change::Set(value) => Some(Some(value)),
            Change::Remove => self.refuse(name, Invalid::new("required", "can't be removed")),
        }
    }

    /// A required object, read by `read`.
    pub fn object<T>(&self, name: &'static str, read: impl FnOnce(&Fields<'a>) -> Option<T>) -> Option<T> {
        match self.value(name) {
            Some(value) => self.nested(value, name.into(), read),
            None => self.refuse(name, Invalid::new("required", "is required")),
        }
    }

    /// An object that may be absent or `null`, read by `read`; or another value in its place, parsed by `parse`.
    pub fn optional_object_or<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Fields<'a>) -> Option<T>,
        parse: impl FnOnce(&'a Value) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        match self.value(name) {
            None => Some(None),
            Some(value) if value.is_object() => self.nested(value, name.into(), read).map(Some),
            Some(value) => self.parsed(name, parse(value)).map(Some),
        }
    }

    /// An object of a merge patch that can't be removed: absent or a new one.
    pub fn replacement_object<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Fields<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.replacement(name, Ok)? {
            None => Some(None),
            Some(value) => self.nested(value, name.into(), read).map(Some),
        }
    }

    /// A field that a merge patch can't change: not there, not even as `null`.
    pub fn immutable(&self, name: &'static str) -> Option<()> {
        match self.change(name, Ok)? {
            Change::Keep => Some(()),
            Change::Remove | Change::Set(_) => self.refuse(name, Invalid::new("immutable", "can't be changed")),
        }
    }

    /// A required array of this many objects, each read by `read`.
    pub fn each<T>(
        &self,
        name: &'static str,
        count: RangeInclusive<usize>,
        read: impl Fn(&Fields<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.required(name, |value| {
            let items = value.as_array().ok_or_else(|| Invalid::new("wrong_type", "must be an array"))?;
            if items.len() < *count.start() {
                return Err(Invalid::new("too_short", format!("must have at least {} items", count.start())));
            }
            if items.len() > *count.end() {
                return Err(Invalid::new("too_long", format!("may have {} items at most", count.end())));
            }
            Ok(items)
        })?;
        let read = items.iter().enumerate().map(|(i, item)| self.nested(item, format!("{name}[{i}]"), &read));
        let read: Vec<_> = read.collect();
        read.into_iter().collect()
    }

    /// Reports a field as invalid: for rules that need several fields.
    pub fn refuse<T>(&self, name: &str, invalid: Invalid) -> Option<T> {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MAX_ERRORS {
            let field = format!("{}{name}", self.prefix);
            errors.push(FieldError { field, code: invalid.code, detail: invalid.detail });
        }
        None
    }

    fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn parsed<T>(&self, name: &str, parsed: Result<T, Invalid>) -> Option<T> {
        parsed.map_or_else(|invalid| self.refuse(name, invalid), Some)
    }

    fn nested<T>(&self, value: &'a Value, name: String, read: impl FnOnce(&Fields<'a>) -> Option<T>) -> Option<T> {
        let Some(object) = value.as_object() else {
            return self.refuse(&name, Invalid::new("wrong_type", "must be an object"));
        };
        let prefix = format!("{}{name}.", self.prefix);
        let fields = Fields { object, prefix, errors: self.errors, asked: RefCell::default() };
        let read = read(&fields);
        fields.refuse_unknown();
        read
    }

    fn refuse_unknown(&self) {
        let asked = self.asked.borrow();
        for name in self.object.keys().filter(|name| !asked.contains(name.as_str())) {
            let shown: String = name.chars().take(64).collect();
            self.refuse::<()>(&shown, Invalid::new("unknown_field", "is not a field of this request"));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::parse;

    type Read = (String, Option<String>, Vec<(String, i64)>);

    fn read(body: &Value) -> Result<Read, Problem> {
        Fields::read(body, |fields| {
            let customer = fields.required("customer", |value| parse::text(value, 1..=10));
            let note = fields.optional("note", |value| parse::text(value, 0..=10));
            let lines = fields.each("lines", 1..=3, |line| {
                let sku = line.required("sku", |value| parse::code(value, 1..=8));
                let quantity = line.required("quantity", |value| parse::integer(value, 1..=10));
                Some((sku?, quantity?))
            });
            Some((customer?, note?, lines?))
        })
    }

    fn wrong(body: &Value) -> Vec<(String, &'static str)> {
        let problem = read(body).expect_err("refused");
        assert_eq!((problem.status, problem.code), (422, "validation_failed"));
        problem.errors.into_iter().map(|error| (error.field, error.code)).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_found_at_once() {
        let body = json!({"note": 7, "lines": [{"sku": "a", "quantity": 1}, {"sku": "a b", "quantity": 0, "x": 1}, 5], "y": 1});
        let expected = [
            ("customer", "required"),
            ("note", "wrong_type"),
            ("lines[1].sku", "invalid_characters"),
            ("lines[1].quantity", "too_small"),
            ("lines[1].x", "unknown_field"),
            ("lines[2]", "wrong_type"),
            ("y", "unknown_field"),
        ];
        assert_eq!(wrong(&body), expected.map(|(field, code)| (field.to_owned(), code)));
    }

    #[test]
    fn a_right_one_is_read_and_null_is_absent() {
        let body = json!({"customer": "c", "note": null, "lines": [{"sku": "a", "quantity": 1}]});
        assert_eq!(read(&body), Ok(("c".into(), None, vec![("a".into(), 1)])));
    }

    #[test]
    fn arrays_are_bounded() {
        assert_eq!(wrong(&json!({"customer": "c", "lines": []})), [("lines".into(), "too_short")]);
        let line = json!({"sku": "a", "quantity": 1});
        assert_eq!(wrong(&json!({"customer": "c", "lines": [line, line, line, line]})), [("lines".into(), "too_long")]);
        assert_eq!(wrong(&json!({"customer": "c", "lines": {}})), [("lines".into(), "wrong_type")]);
    }

    #[test]
    fn a_patch_keeps_removes_and_sets() {
        let patch = |body: Value| {
            Fields::read(&body, |fields| {
                let name = fields.replacement("name", |value| parse::text(value, 1..=10));
                let note = fields.change("note", |value| parse::text(value, 1..=10));
                Some((name?, note?))
            })
        };
        assert_eq!(patch(json!({})), Ok((None, Change::Keep)));
        assert_eq!(patch(json!({"name": "n", "note": null})), Ok((Some("n".into()), Change::Remove)));
        assert_eq!(patch(json!({"note": "m"})), Ok((None, Change::Set("m".into()))));
        assert_eq!(patch(json!({"name": null})).expect_err("refused").errors[0].code, "required");
    }

    #[test]
    fn the_list_of_errors_is_bounded() {
        let body: Map<String, Value> = (0..500).map(|i| (format!("x{i}"), Value::Null)).collect();
        assert_eq!(wrong(&Value::Object(body)).len(), MAX_ERRORS);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key =
                prop_oneof![Just("customer".to_owned()), Just("lines".to_owned()), Just("sku".to_owned()), ".{0,4}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_with_reasons(body in any_json()) {
            if let Err(problem) = read(&body) {
                prop_assert_eq!(problem.status, 422);
                prop_assert!(!problem.errors.is_empty());
            }
        }
    }
}
