use std::fs::File;
use std::io::Read as _;
use std::os::unix::net::UnixListener;

use super::*;

fn many(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| OwnedFd::from(File::open("/dev/null").unwrap())).collect()
}

fn borrowed(owned: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    owned.iter().map(AsFd::as_fd).collect()
}

#[test]
fn a_packet_brings_its_words_and_its_descriptor_together() {
    for kind in [Kind::Packets, Kind::Stream] {
        let (here, there) = pair(kind).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        assert_eq!(here.send(b"take this", &[writer.as_fd()]).unwrap(), 9);
        drop(writer);
        let mut buffer = [0; 64];
        let packet = there.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..packet.length], b"take this");
        let passed = packet.descriptors.into_iter().next().unwrap();
        let flags = rustix::io::fcntl_getfd(&passed).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "close-on-exec from the first moment");
        rustix::io::write(&passed, b"through").unwrap();
        drop(passed);
        let mut heard = String::new();
        reader.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "through");
    }
}

#[test]
fn an_empty_socket_says_so_and_an_ended_one_too() {
    let (here, there) = pair(Kind::Packets).unwrap();
    let waits = there.receive(&mut [0; 8]).unwrap_err();
    assert!(matches!(waits, ReceiveError::Socket(error) if error.kind() == io::ErrorKind::WouldBlock));
    drop(here);
    assert_eq!(there.receive(&mut [0; 8]).unwrap().length, 0);
}

#[test]
fn a_packet_that_does_not_fit_is_no_packet() {
    let (here, there) = pair(Kind::Packets).unwrap();
    here.send(&[7; 100], &[]).unwrap();
    assert!(matches!(there.receive(&mut [0; 64]).unwrap_err(), ReceiveError::TooLong(64)));
}

#[test]
fn more_descriptors_than_are_allowed_are_refused_and_none_stays_open() {
    let (here, there) = pair(Kind::Packets).unwrap();
    let gift = many(MOST_DESCRIPTORS);
    here.send(b"x", &borrowed(&gift)).unwrap();
    assert_eq!(there.receive(&mut [0; 8]).unwrap().descriptors.len(), MOST_DESCRIPTORS);
    assert!(here.send(b"x", &borrowed(&many(MOST_DESCRIPTORS + 1))).is_err(), "we send no more either");

    let (mut reader, writer) = std::io::pipe().unwrap();
    let too_many = vec![writer.as_fd(); 32];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&too_many)));
    sendmsg(&here, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
    drop(writer);
    assert!(matches!(there.receive(&mut [0; 8]).unwrap_err(), ReceiveError::DescriptorsLost));
    // The end comes only when every copy is closed.
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn the_kernel_says_who_calls() {
    let (here, _there) = pair(Kind::Stream).unwrap();
    let who = caller(&here).unwrap();
    assert_eq!(who.uid, rustix::process::geteuid().as_raw());
    assert_eq!(who.pid, rustix::process::getpid().as_raw_nonzero().get());
}

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("portolan-pass-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let folder = Folder::new("listen");
    let path = folder.0.join("broker.sock");
    let first = listen_seqpacket(&path, 0o600).unwrap();
    let error = listen_seqpacket(&path, 0o600).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(first);
    let again = listen_seqpacket(&path, 0o666).unwrap();
    let client = seqpacket(&path).unwrap();
    assert_eq!(client.send(b"hello", &[]).unwrap(), 5);
    drop(again);
}

#[test]
fn a_held_socket_is_reached_though_its_name_is_gone_and_a_link_is_not_followed() {
    let folder = Folder::new("held");
    let path = folder.0.join("service");
    let listener = UnixListener::bind(&path).unwrap();
    std::os::unix::fs::symlink(&path, folder.0.join("link")).unwrap();
    std::fs::write(folder.0.join("file"), "").unwrap();
    let within = super::socket::folder(&folder.0).unwrap();
    assert!(hold(&within, "link").is_err());
    assert!(hold(&within, "file").is_err());
    assert!(hold(&within, "nothing").is_err());
    let held = hold(&within, "service").unwrap();
    std::fs::remove_file(&path).unwrap();
    let _client = connect_held(&held).unwrap();
    listener.accept().unwrap();
}
