//! What walking over rows costs. Prints figures, asserts none: `cargo test --release -p weir-mssql --test wire_speed --
//! --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::hint::black_box;

use weir_core::clock;
use weir_mssql::wire::walker::{Layout, Piece, Walker};

/// Payload of a packet of 4096 bytes.
const SLICE: usize = 4088;
/// Few enough for one turn on a busy machine.
const ROWS: usize = 20_000;

/// COLMETADATA for columns whose TYPE_INFO is given.
fn metadata(types: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0x81];
    bytes.extend((types.len() as u16).to_le_bytes());
    for info in types {
        bytes.extend([0, 0, 0, 0, 9, 0]);
        bytes.extend(*info);
        bytes.push(0);
    }
    bytes
}

fn measure(name: &str, metadata: &[u8], row: &[u8], rows: usize) {
    let mut payload = metadata.to_vec();
    payload.extend(row.repeat(rows));
    payload.extend([0xfd, 0x10, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut walker = Walker::new(Layout::default());
    let mut best = f64::MAX;
    for _ in 0..50 {
        let start = clock::now();
        walker.begin();
        for mut input in payload.chunks(SLICE) {
            while let Some(piece) = walker.next(&mut input).unwrap() {
                black_box(matches!(piece, Piece::Token(_)));
            }
        }
        best = best.min(start.elapsed().as_secs_f64());
        assert!(walker.is_complete());
    }
    let each = best * 1e9 / rows as f64;
    println!(
        "{name}: {} bytes a row, {each:.1} ns a row, {:.1} GB/s",
        row.len(),
        row.len() as f64 / each
    );
}

#[test]
#[ignore = "prints figures; worth something with --release only"]
fn rows_cost_so_many_nanoseconds() {
    let int: &[u8] = &[0x38];
    measure(
        "3 int not null",
        &metadata(&[int; 3]),
        &[&[0xd1][..], &[7; 12]].concat(),
        ROWS,
    );

    let nullable: &[u8] = &[0x26, 4];
    let value = [4, 1, 2, 3, 4];
    measure(
        "3 int",
        &metadata(&[nullable; 3]),
        &[&[0xd1][..], &value.repeat(3)].concat(),
        ROWS,
    );

    let text: &[u8] = &[0xe7, 0x40, 0x1f, 9, 4, 0xd0, 0, 0x34];
    let mut row = vec![0xd2, 0b0010_0100, 0];
    for column in 0..10 {
        match column {
            2 | 5 => {}
            column if column % 2 == 0 => row.extend(value),
            _ => row.extend([&[32, 0][..], &[b'x'; 32]].concat()),
        }
    }
    let mixed = [
        nullable, text, nullable, text, nullable, text, nullable, text, nullable, text,
    ];
    measure("10 mixed, NBCROW", &metadata(&mixed), &row, ROWS);

    let large: &[u8] = &[0xe7, 0xff, 0xff, 9, 4, 0xd0, 0, 0x34];
    let mut row = vec![0xd1];
    row.extend(value);
    row.extend(20_000_u64.to_le_bytes());
    row.extend(20_000_u32.to_le_bytes());
    row.extend([b'x'; 20_000]);
    row.extend([0; 4]);
    measure(
        "int and 20,000 bytes of nvarchar(max)",
        &metadata(&[nullable, large]),
        &row,
        ROWS / 100,
    );
}
