//! What a member of a consumer group was assigned, as the group's description carries it.
//!
//! The form is Kafka's own (`clients/src/main/resources/common/message/ConsumerProtocolAssignment.json`): a version, then each
//! topic with its partitions, then data of the assignor. Every version so far begins so.

/// Counts the partitions of an assignment. `None` where it isn't one.
pub(super) fn count(assignment: &[u8]) -> Option<usize> {
    let mut rest = assignment.get(2..)?;
    let mut partitions = 0;
    for _ in 0..number(&mut rest)? {
        let name = usize::from(u16::from_be_bytes(take(&mut rest)?));
        rest = rest.get(name..)?;
        let here = number(&mut rest)?;
        rest = rest.get(here.checked_mul(4)?..)?;
        partitions += here;
    }
    Some(partitions)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    i32::from_be_bytes(take(rest)?).try_into().ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn partitions_are_counted_over_all_topics() {
        let two_topics =
            b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x02bc\0\0\0\x01\0\0\0\x07\xff\xff\xff\xff";
        assert_eq!(count(two_topics), Some(3));
        assert_eq!(count(b"\0\0\0\0\0\0\xff\xff\xff\xff"), Some(0));
        for cut in 0..two_topics.len() - 4 {
            assert_eq!(count(&two_topics[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = count(&bytes);
        }
    }
}
