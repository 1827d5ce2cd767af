//! `db-locks token`: creates, lists and revokes tokens directly in the database.

pub(crate) mod args;

use std::io::Write;

use db_locks_api::{token_json, token_list_json};
use db_locks_service::{
    access::{KeyPatterns, NewToken, Scope, TokenId, Tokens},
    domain::Owner,
    store::{self, DatabaseOptions, Page},
};

use self::args::{CreateArgs, TokenCommand};
use crate::{
    cli::DatabaseArgs,
    command::aligned,
    failure::{Failure, with_place},
    printable::{printable, printable_json},
};

/// The number of tokens that are read at a time.
const PAGE: u32 = 1_000;

/// The columns of a list of tokens: members of their JSON.
const COLUMNS: [&str; 7] = ["id", "name", "role", "tenant", "keys", "expires_at", "last_used_at"];

/// Runs the command.
pub(crate) async fn token(database: &DatabaseArgs, command: TokenCommand) -> Result<(), Failure> {
    let options = database.options()?;
    let done = carry_out(&options, command).await;
    done.map_err(|error| with_place(options.place(), error))
}

async fn carry_out(options: &DatabaseOptions, command: TokenCommand) -> Result<(), Failure> {
    match &command {
        TokenCommand::Create(_) => store::migrate_up(options).await?,
        TokenCommand::List { .. } | TokenCommand::Revoke { .. } => store::check_schema(options).await?,
    }
    let tokens = Tokens::new(store::connect(options).await?);
    match command {
        TokenCommand::Create(args) => create(&tokens, args).await,
        TokenCommand::List { json } => list(&tokens, json).await,
        TokenCommand::Revoke { id } => {
            let token = tokens.revoke(TokenId(id), None, |_| ()).await?;
            writeln!(std::io::stdout(), "revoked {} ({id})", printable(&token.name))?;
            Ok(())
        }
    }
}

async fn create(tokens: &Tokens, args: CreateArgs) -> Result<(), Failure> {
    let name = args.positional_name.or(args.name).unwrap_or_default();
    // Names of tokens follow the same rule as owners.
    Owner::new(&name).map_err(|error| format!("the name {error}"))?;
    let keys = if args.keys.is_empty() { None } else { Some(KeyPatterns::new(args.keys)?) };
    let scope = Scope { tenant: args.tenant, role: args.role, keys };
    let new = NewToken { name, scope, expires_at: args.expires_at };
    let (token, secret) = tokens.create(new, None, |_| ()).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(printable_json(&token_json(&token, &secret)?).as_bytes())?;
    } else {
        // Nothing else goes to standard output, so that a script can read it.
        writeln!(
            std::io::stderr(),
            "created {} ({}); its secret is shown this once:",
            printable(&token.name),
            token.id.0
        )?;
        writeln!(out, "{}", secret.reveal())?;
    }
    Ok(())
}

async fn list(tokens: &Tokens, json: bool) -> Result<(), Failure> {
    let mut all = Page { items: Vec::new(), next: None };
    loop {
        let page = tokens.list(all.next, PAGE, None).await?;
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    let mut out = std::io::stdout().lock();
    let list = token_list_json(&all)?;
    if json {
        out.write_all(printable_json(&list).as_bytes())?;
        return Ok(());
    }
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    let head = COLUMNS.map(|name| name.replace('_', " ").to_uppercase()).to_vec();
    let rows = list["items"].as_array().into_iter().flatten();
    let rows = rows.map(|token| COLUMNS.iter().map(|name| cell(&token[*name])).collect());
    writeln!(out, "{}", aligned(std::iter::once(head).chain(rows)))?;
    Ok(())
}

fn cell(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}
