//! Packets as a file, read again by an independent reader.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::Balanced;
use lb_tests::lab::{PORT, VIP, client_address};
use lb_tests::packet::Frame;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::looking::{Looking, is_gone};

/// A file's frames, each with the name of its interface.
fn read(file: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut reader = PcapNgReader::new(file)?;
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block? {
            Block::InterfaceDescription(interface) => {
                let name = interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                names.push(name.context("a name")?);
            }
            Block::EnhancedPacket(packet) => {
                assert_eq!(packet.original_len as usize, packet.data.len(), "a whole frame");
                let name: &String = names.get(packet.interface_id as usize).context("a number")?;
                frames.push((name.clone(), packet.data.to_vec()));
            }
            _ => {}
        }
    }
    Ok(frames)
}

#[test]
fn a_file_has_each_packet_before_and_after() -> Result<()> {
    let balanced = Balanced::start()?;
    let files = tempfile::tempdir()?;
    let path = files.path().join("call.pcapng");
    let name = path.to_str().context("a name")?;
    let client = client_address(1).to_string();
    let mut looking = Looking::start(&balanced, &["--client", &client, "--pcap", name])?;
    assert_eq!(balanced.short(1)?.ok, 1);
    thread::sleep(Duration::from_millis(700));
    let output = looking.interrupt()?;
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with(&format!("packets in {name}, 0 left out\n")), "{said}");

    let frames = read(&fs::read(&path)?)?;
    assert!(frames.len() >= 2 * 7, "{}", frames.len());
    let mut syns = 0;
    for pair in frames.chunks(2) {
        let [(came_by, came), (left_by, left)] = pair else { panic!("one without the other") };
        let (came, left) = (Frame::judge(came)?, Frame::judge(left)?);
        match came_by.as_str() {
            "front in" => {
                assert_eq!(left_by, "back out");
                assert_eq!(came.destination, (VIP, PORT).into());
                assert_eq!((came.source, left.destination.port()), (left.source, PORT));
                assert!(
                    balanced.lab.nodes().iter().any(|node| left.destination.ip() == node.address)
                );
                syns += usize::from(came.flags == lb_tests::packet::Flags::SYN);
            }
            "back in" => {
                assert_eq!(left_by, "front out");
                assert_eq!(left.source, (VIP, PORT).into());
                assert_eq!(came.destination, left.destination);
            }
            other => panic!("{other}"),
        }
        // The payload is what it was.
        assert_eq!((came.payload, came.sequence), (left.payload, left.sequence));
    }
    assert_eq!(syns, 1);
    Ok(())
}

#[test]
fn a_file_is_no_larger_than_it_may_be() -> Result<()> {
    let balanced = Balanced::start()?;
    let files = tempfile::tempdir()?;
    let path = files.path().join("small.pcapng");
    let name = path.to_str().context("a name")?;
    let looking = Looking::start(&balanced, &["--pcap", name, "--max-size", "20kB"])?;
    let program = looking.program;
    assert_eq!(balanced.short(100)?.ok, 100);
    let output = looking.wait()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("--max-size"), "{said}");
    let file = fs::read(&path)?;
    assert!((10_000..=20_000).contains(&file.len()), "{} bytes", file.len());
    assert!(read(&file)?.len() > 20);
    is_gone(&balanced, program)
}

#[test]
fn stdout_is_a_file_as_well() -> Result<()> {
    let balanced = Balanced::start()?;
    let mut looking = Looking::start(&balanced, &["--pcap", "-"])?;
    assert_eq!(balanced.short(1)?.ok, 1);
    thread::sleep(Duration::from_millis(700));
    let output = looking.interrupt()?;
    assert!(output.status.success(), "{output:?}");
    assert!(read(&output.stdout)?.len() >= 2 * 7);
    Ok(())
}
