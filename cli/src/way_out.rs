//! The way out of what no program can mend: a disk that is full, a folder of somebody else, a clock that is wrong. The system's
//! words for these are the same wherever they come from, also in what a server has said last.
use towpath_stack::home::Home;
use towpath_stack::room;

use crate::clock;

/// How those who fetch something say that a certificate, or a list of packages, isn't valid yet or any more: curl and OpenSSL, Java,
/// rustls, apt.
const UNTIMELY: [&str; 7] = [
    "certificate is not yet valid",
    "certificate has expired",
    "NotYetValid",
    "CertificateExpired",
    "certificate not valid yet",
    "certificate expired",
    "is not valid yet (invalid for another",
];

/// What to do about a failure, where that can be told from its text.
pub(crate) fn of(failure: &str, home: &Home) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|word| failure.contains(word));
    let elsewhere = "or choose another place with --home";
    if says(&["No space left on device", "Disk quota exceeded", "os error 28", "os error 122"]) {
        let left = room::left(home.path()).map(|bytes| format!(" ({} MiB left)", bytes >> 20)).unwrap_or_default();
        let path = home.path().display();
        Some(format!(
            "The disk is full under {path}{left}: make room there, {elsewhere}. The next `up` goes on from here."
        ))
    } else if says(&["Permission denied", "Operation not permitted"]) {
        Some(format!("Another user owns that: call this as that user, {elsewhere}."))
    } else if says(&["Read-only file system"]) {
        Some(format!("Nothing can be written there: mount it for writing, {elsewhere}."))
    } else if says(&["Not a directory"]) {
        Some(format!("A file stands where a folder is wanted: move it away, {elsewhere}."))
    } else if says(&["Network is unreachable"]) && failure.contains("127.0.0.1") {
        Some("This machine doesn't reach itself: `ip link set lo up` brings its loopback interface up.".to_owned())
    } else if says(&UNTIMELY) {
        Some(format!("This machine's clock says {}: set it, if that is wrong.", clock::now()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_stack::testing::TempDir;

    #[test]
    fn what_the_system_says_has_a_way_out_wherever_it_stands() {
        let folder = TempDir::new();
        let home = Home::resolve(Some(folder.path())).unwrap();
        let of = |text: &str| of(text, &home).unwrap_or_default();
        let initdb = "FATAL:  could not write to file \"pg_wal/xlogtemp.7\": No space left on device\n child exited";
        assert!(
            of(initdb).contains("MiB left): make room there, or choose another place with --home"),
            "{}",
            of(initdb)
        );
        for (kind, said) in [
            (std::io::ErrorKind::PermissionDenied, "Another user owns that"),
            (std::io::ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
            (std::io::ErrorKind::NotADirectory, "A file stands where a folder is wanted"),
            (std::io::ErrorKind::StorageFull, "make room"),
        ] {
            let codes = [13, 30, 20, 28].map(std::io::Error::from_raw_os_error);
            let error = codes.into_iter().find(|error| error.kind() == kind).unwrap();
            assert!(of(&format!("cannot write /x: {error}")).contains(said), "{error}");
        }
        for said in [
            "curl: (60) SSL certificate problem: certificate is not yet valid",
            "PKIX path validation failed: java.security.cert.CertificateNotYetValidException: NotBefore: Mon Nov 30",
            "invalid peer certificate: certificate expired: verification time 1970-01-02",
            "E: Release file for http://deb.debian.org/debian/dists/bookworm-updates/InRelease is not valid yet (invalid for \
             another 1d 2h 3min 4s).",
        ] {
            assert!(of(said).contains("clock says"), "{said}");
        }
        assert_eq!(super::of("a part died", &home), None);
    }
}
