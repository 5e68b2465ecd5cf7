//! The journal's tables and the statements on them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use routenet_core::model::{Block, Cidr, Endpoint, EndpointKey, InterfaceName, NetworkName};
use routenet_core::time::Time;

use super::{JournalState, JournalWrite, Released, refused};
use crate::store::sqlite::{Failure, FileKind};

pub(super) const KIND: FileKind = FileKind {
    what: "journal",
    setting: "paths.state",
    application_id: 0x726e_6a6c,
    migrations: &[
        "
        CREATE TABLE meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            incarnation TEXT NOT NULL
        );
        CREATE TABLE endpoint (
            network TEXT NOT NULL,
            container TEXT NOT NULL,
            ifname TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (network, container, ifname)
        ) WITHOUT ROWID;
        CREATE TABLE allocation (
            address TEXT PRIMARY KEY NOT NULL,
            network TEXT NOT NULL,
            container TEXT NOT NULL,
            ifname TEXT NOT NULL
        ) WITHOUT ROWID;
        CREATE INDEX allocation_by_endpoint ON allocation (network, container, ifname);
        CREATE TABLE released (
            address TEXT PRIMARY KEY NOT NULL,
            network TEXT NOT NULL,
            container TEXT NOT NULL,
            ifname TEXT NOT NULL,
            at INTEGER NOT NULL,
            acknowledged INTEGER
        ) WITHOUT ROWID;
        CREATE TABLE block (
            cidr TEXT PRIMARY KEY NOT NULL,
            value TEXT NOT NULL
        ) WITHOUT ROWID;
    ",
        "
        CREATE TABLE note (
            front_end TEXT NOT NULL,
            name TEXT NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (front_end, name)
        ) WITHOUT ROWID;
    ",
    ],
    synchronous: "FULL",
    damaged_mend: "it was left as it is: move it away, with its -wal and -shm, and put back a copy, or begin anew with \
                   what the cluster store and the kernel show",
};

/// Reads every page: a damaged journal is found at the start, not in the middle of an ADD.
pub(super) fn check_whole(conn: &Connection) -> Result<(), Failure> {
    let path = conn.path().unwrap_or("?").to_string();
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(refused(path.as_ref(), &format!("it is damaged: {verdict}"))) }
}

/// The incarnation that it has, or `fresh` from now on.
pub(super) fn incarnation(conn: &Connection, fresh: &str) -> Result<String, Failure> {
    conn.execute("INSERT OR IGNORE INTO meta (id, incarnation) VALUES (1, ?1)", [fresh])?;
    Ok(conn.query_row("SELECT incarnation FROM meta WHERE id = 1", [], |row| row.get(0))?)
}

pub(super) fn apply(conn: &Connection, write: &JournalWrite) -> Result<(), Failure> {
    match write {
        JournalWrite::Allocate { key, addresses } => {
            for address in addresses {
                allocate(conn, key, &address.to_string())?;
            }
        }
        JournalWrite::PutEndpoint(endpoint) => {
            let key = &endpoint.key;
            conn.prepare_cached(
                "INSERT OR REPLACE INTO endpoint (network, container, ifname, value) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                key.network.as_str(),
                key.container_id,
                key.ifname.as_str(),
                json(endpoint)
            ])?;
        }
        JournalWrite::Release { key, at } => release(conn, key, *at)?,
        JournalWrite::Acknowledge { addresses, at } => {
            for address in addresses {
                conn.prepare_cached(
                    "UPDATE released SET acknowledged = ?2 WHERE address = ?1 AND acknowledged IS NULL",
                )?
                .execute(params![address.to_string(), millis(*at)])?;
            }
        }
        JournalWrite::PutBlock(block) => {
            conn.prepare_cached("INSERT OR REPLACE INTO block (cidr, value) VALUES (?1, ?2)")?
                .execute(params![block.cidr.to_string(), json(block)])?;
        }
        JournalWrite::RemoveBlock(cidr) => remove_block(conn, cidr)?,
        JournalWrite::Transfer { from, to } => transfer(conn, from, to)?,
        JournalWrite::Note { front_end, name, text } => note(conn, front_end, name, text.as_deref())?,
    }
    Ok(())
}

/// The last defence against giving an address out twice: its row has one owner.
fn allocate(conn: &Connection, key: &EndpointKey, address: &str) -> Result<(), Failure> {
    let own = params![address, key.network.as_str(), key.container_id, key.ifname.as_str()];
    conn.prepare_cached(
        "INSERT OR IGNORE INTO allocation (address, network, container, ifname) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(own)?;
    let (network, container, ifname): (String, String, String) = conn
        .prepare_cached("SELECT network, container, ifname FROM allocation WHERE address = ?1")?
        .query_row([address], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if (network.as_str(), &container, ifname.as_str()) != (key.network.as_str(), &key.container_id, key.ifname.as_str())
    {
        let path = conn.path().unwrap_or("?").to_string();
        let what = format!("{address} belongs to {network}/{container}/{ifname}, so {key} cannot have it");
        return Err(refused(path.as_ref(), &what));
    }
    conn.prepare_cached("DELETE FROM released WHERE address = ?1")?.execute([address])?;
    Ok(())
}

fn release(conn: &Connection, key: &EndpointKey, at: Time) -> Result<(), Failure> {
    let own = params![key.network.as_str(), key.container_id, key.ifname.as_str()];
    conn.prepare_cached(
        "INSERT OR REPLACE INTO released (address, network, container, ifname, at, acknowledged)
         SELECT address, network, container, ifname, ?4, NULL FROM allocation
         WHERE network = ?1 AND container = ?2 AND ifname = ?3",
    )?
    .execute(params![key.network.as_str(), key.container_id, key.ifname.as_str(), millis(at)])?;
    conn.prepare_cached("DELETE FROM allocation WHERE network = ?1 AND container = ?2 AND ifname = ?3")?
        .execute(own)?;
    conn.prepare_cached("DELETE FROM endpoint WHERE network = ?1 AND container = ?2 AND ifname = ?3")?.execute(own)?;
    Ok(())
}

fn transfer(conn: &Connection, from: &EndpointKey, to: &EndpointKey) -> Result<(), Failure> {
    conn.prepare_cached(
        "UPDATE allocation SET network = ?4, container = ?5, ifname = ?6
         WHERE network = ?1 AND container = ?2 AND ifname = ?3",
    )?
    .execute(params![
        from.network.as_str(),
        from.container_id,
        from.ifname.as_str(),
        to.network.as_str(),
        to.container_id,
        to.ifname.as_str()
    ])?;
    Ok(())
}

fn note(conn: &Connection, front_end: &str, name: &str, text: Option<&str>) -> Result<(), Failure> {
    match text {
        Some(text) => conn
            .prepare_cached("INSERT OR REPLACE INTO note (front_end, name, text) VALUES (?1, ?2, ?3)")?
            .execute(params![front_end, name, text])?,
        None => conn
            .prepare_cached("DELETE FROM note WHERE front_end = ?1 AND name = ?2")?
            .execute(params![front_end, name])?,
    };
    Ok(())
}

fn remove_block(conn: &Connection, cidr: &Cidr) -> Result<(), Failure> {
    conn.prepare_cached("DELETE FROM block WHERE cidr = ?1")?.execute([cidr.to_string()])?;
    let rested: Vec<String> = conn
        .prepare_cached("SELECT address FROM released")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for address in rested {
        if address.parse().is_ok_and(|parsed| cidr.contains(parsed)) {
            conn.prepare_cached("DELETE FROM released WHERE address = ?1")?.execute([address])?;
        }
    }
    Ok(())
}

pub(super) fn load(conn: &mut Connection) -> Result<JournalState, Failure> {
    let path = conn.path().unwrap_or("?").to_string();
    let wrong = |what: String| refused(path.as_ref(), &what);
    let transaction = conn.transaction()?;
    let mut state = JournalState::default();

    let mut statement = transaction.prepare("SELECT value FROM endpoint ORDER BY network, container, ifname")?;
    for text in statement.query_map([], |row| row.get::<_, String>(0))? {
        let endpoint: Endpoint = serde_json::from_str(&text?).map_err(|e| wrong(format!("an endpoint: {e}")))?;
        state.endpoints.push(endpoint);
    }
    let mut statement = transaction.prepare("SELECT value FROM block ORDER BY cidr")?;
    for text in statement.query_map([], |row| row.get::<_, String>(0))? {
        let block: Block = serde_json::from_str(&text?).map_err(|e| wrong(format!("a block: {e}")))?;
        state.blocks.push(block);
    }
    let mut statement = transaction.prepare("SELECT address, network, container, ifname FROM allocation")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        state.allocations.push((address(row, &wrong)?, key(row, &wrong)?));
    }
    let mut statement =
        transaction.prepare("SELECT address, network, container, ifname, at, acknowledged FROM released")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        state.released.push(Released {
            address: address(row, &wrong)?,
            key: key(row, &wrong)?,
            released: time(row.get(4)?),
            acknowledged: row.get::<_, Option<i64>>(5).optional()?.flatten().map(time),
        });
    }
    let mut statement = transaction.prepare("SELECT front_end, name, text FROM note ORDER BY front_end, name")?;
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))? {
        state.notes.push(row?);
    }
    state.allocations.sort();
    state.released.sort_by_key(|released| released.address);
    Ok(state)
}

fn address(row: &Row<'_>, wrong: &impl Fn(String) -> Failure) -> Result<std::net::IpAddr, Failure> {
    let text: String = row.get(0)?;
    text.parse().map_err(|_| wrong(format!("`{text}` is no address")))
}

fn key(row: &Row<'_>, wrong: &impl Fn(String) -> Failure) -> Result<EndpointKey, Failure> {
    Ok(EndpointKey {
        network: NetworkName::new(row.get::<_, String>(1)?).map_err(|error| wrong(error.to_string()))?,
        container_id: row.get(2)?,
        ifname: InterfaceName::new(row.get::<_, String>(3)?).map_err(|error| wrong(error.to_string()))?,
    })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("model values have string keys only")
}

fn millis(time: Time) -> i64 {
    i64::try_from(time.since_origin().as_millis()).unwrap_or(i64::MAX)
}

fn time(millis: i64) -> Time {
    Time::from_millis(u64::try_from(millis).unwrap_or(0))
}
