//! Where the configuration comes from: which file, and what is read again when a part of it changes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    Config, Environment, Problem, Problems,
    contents::Contents,
    document::{self, Table},
    reading::Reading,
    resolve::read,
    upstreams::TurnedOn,
};

/// Where the file is when nobody says.
const DEFAULT_FILE: &str = "config/groundwire.toml";

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read; unset: the environment alone told.
    pub file: Option<PathBuf>,
}

/// What the command line says over file and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// What the settings are for.
    pub purpose: Purpose,
}

/// What the settings are for, which decides what must be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To answer clients: a model provider, and client keys where others can reach the address.
    #[default]
    Serve,
    /// To search only: neither of these, but in any case a key for search.
    Search,
}

impl Config {
    /// Reads the file at `path`, else at `GROUNDWIRE_CONFIG`, else `config/groundwire.toml` if it is there, else the environment alone.
    ///
    /// # Errors
    ///
    /// Tells every problem at once.
    pub fn load(
        path: Option<&Path>,
        env: &Environment,
        overrides: &Overrides,
    ) -> Result<Loaded, Problems> {
        Self::load_again(path, env, overrides, &mut Contents::default())
    }

    /// Reads the same again, but for the files that are in `contents`; afterwards every file is there that was asked for, also where
    /// something is wrong.
    ///
    /// # Errors
    ///
    /// Tells every problem at once.
    pub fn load_again(
        path: Option<&Path>,
        env: &Environment,
        overrides: &Overrides,
        contents: &mut Contents,
    ) -> Result<Loaded, Problems> {
        let named = path
            .map(Path::to_path_buf)
            .or_else(|| env.get("GROUNDWIRE_CONFIG").map(PathBuf::from));
        let file =
            named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|default| default.exists()));
        *contents = contents.clone().around(file.as_deref());
        let Some(file) = file else {
            let config = resolve(Table::new(), TurnedOn::ByKey, env, overrides, contents);
            return Ok(Loaded {
                config: config.map_err(|list| Problems::new("the environment", list))?,
                file: None,
            });
        };
        let name = file.display().to_string();
        let text = text(contents, &file).map_err(|error| {
            let problem = Problem::new(
                &name,
                format!("the file cannot be read ({error})"),
                "mend the path given by --config or GROUNDWIRE_CONFIG",
            );
            Problems::new(&name, vec![problem])
        })?;
        let config = resolve_text(&text, env, overrides, contents)
            .map_err(|list| Problems::new(&name, list))?;
        Ok(Loaded {
            config,
            file: Some(file),
        })
    }

    /// Reads `text` as the file.
    ///
    /// # Errors
    ///
    /// Tells every problem at once.
    pub fn parse(text: &str, env: &Environment) -> Result<Self, Problems> {
        resolve_text(text, env, &Overrides::default(), &mut Contents::default())
            .map_err(|list| Problems::new("the given text", list))
    }
}

fn text(contents: &mut Contents, file: &Path) -> std::io::Result<String> {
    let bytes = contents.read(file)?;
    let text = std::str::from_utf8(&bytes).map_err(std::io::Error::other)?;
    Ok(text.to_owned())
}

fn resolve_text(
    text: &str,
    env: &Environment,
    overrides: &Overrides,
    contents: &mut Contents,
) -> Result<Config, Vec<Problem>> {
    let table = document::parse(text).map_err(|problem| vec![problem])?;
    resolve(table, TurnedOn::ByName, env, overrides, contents)
}

fn resolve(
    table: Table,
    turned_on: TurnedOn,
    env: &Environment,
    overrides: &Overrides,
    contents: &mut Contents,
) -> Result<Config, Vec<Problem>> {
    let reading = Reading::new(env, std::mem::take(contents));
    let config = read(reading.open(table), turned_on, env, overrides);
    *contents = reading.take_contents();
    let problems = reading.close();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}
