//! Bytes over HTTP: whole and right under their name, or not there at all.
//!
//! A transfer that was cut goes on where it stopped (RFC 9110, sections 13.1.5 and 14). What fails in passing, a connection or a
//! server that is busy, is tried again, later each time. Every wait has an end, and no more is read than can be right.

use std::error::Error as StdError;
use std::io::{self, Seek as _, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kubezt_model::Digest;
use reqwest::header::{
    CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode, Url};

use crate::Error;
use crate::cache::Blob;
use crate::error::causes;
use crate::hashing::HashingWriter;
use crate::part::Part;

/// The most that a file without a known size may have: an order of magnitude above the largest there is.
pub(crate) const MOST: u64 = 4 << 30;

/// Bytes that a connection must have brought to count as more than one more failure.
const GAIN: u64 = 1 << 20;

/// Redirects that are followed.
const REDIRECTS: usize = 10;

/// What happens while a file is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Bytes came in.
    Received {
        /// So far.
        bytes: u64,
        /// In all, where the server says.
        total: Option<u64>,
    },
    /// It failed in passing.
    Again {
        /// How, with the URL.
        problem: String,
        /// Time until it is tried again.
        wait: Duration,
    },
}

/// Hears what happens.
pub(crate) type Watch<'a> = &'a (dyn Fn(Step) + Send + Sync);

/// What content must be to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Its digest; `None` where what is made of it is checked instead.
    pub(crate) digest: Option<Digest>,
    /// Its size.
    pub(crate) size: Size,
}

/// How many bytes there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// This many.
    Exactly(u64),
    /// At most this many.
    AtMost(u64),
}

impl Size {
    const fn most(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtMost(bytes) => bytes,
        }
    }
}

/// Which servers are spoken to, and how they prove who they are.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// HTTPS, the authorities of the system.
    System,
    /// HTTPS, the authorities of this PEM file and no others.
    Authorities(PathBuf),
    /// Plain HTTP to loopback addresses, past any proxy.
    Loopback,
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For a connection.
    connect: Duration,
    /// For the next bytes.
    stall: Duration,
    /// For a file, with everything that is tried again.
    total: Duration,
    /// Before the second try; twice that before the third, and so on.
    pause: Duration,
    /// The longest wait a server may ask for.
    longest: Duration,
    /// Tries in a row that bring nothing further.
    tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            total: Duration::from_secs(2 * 60 * 60),
            pause: Duration::from_secs(1),
            longest: Duration::from_secs(120),
            tries: 5,
        }
    }
}

/// Fetches files.
#[derive(Debug, Clone)]
pub(crate) struct Downloader {
    client: Client,
    plain: bool,
    patience: Patience,
}

impl Downloader {
    /// # Errors
    /// No certificate store, and a file of authorities that cannot be read or holds none.
    pub(crate) fn new(trust: &Trust) -> Result<Self, Error> {
        Self::with_patience(trust, Patience::default())
    }

    fn with_patience(trust: &Trust, patience: Patience) -> Result<Self, Error> {
        let plain = matches!(trust, Trust::Loopback);
        let redirects = Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                attempt.error("it is redirected too often")
            } else if is_admitted(attempt.url(), plain) {
                attempt.follow()
            } else {
                attempt.error("it is redirected to plain HTTP")
            }
        });
        Ok(Self { client: client(trust, patience, redirects)?, plain, patience })
    }

    /// Fetches a file to `path`; nothing is there until it is whole and what was expected.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where credentials are asked for; anything else that does not pass, or did not in time.
    pub(crate) async fn fetch(
        &self,
        url: &str,
        headers: &HeaderMap,
        expected: Expected,
        path: &Path,
        watch: Watch<'_>,
    ) -> Result<Blob, Error> {
        let doing = || Error::file(format!("cannot keep {url}"));
        let (part, file) = Part::begin(path).map_err(doing())?;
        let transfer = Transfer::new(self, url, headers, expected, watch, file)?;
        let (file, digest, size) = transfer.run().await?.finish();
        part.finish(&file).map_err(doing())?;
        Ok(Blob { digest, size })
    }

    /// Reads an answer of at most `most` bytes into memory.
    ///
    /// # Errors
    /// As [`Downloader::fetch`].
    pub(crate) async fn read(
        &self,
        url: &str,
        headers: &HeaderMap,
        most: u64,
        watch: Watch<'_>,
    ) -> Result<Vec<u8>, Error> {
        let expected = Expected { digest: None, size: Size::AtMost(most) };
        let transfer = Transfer::new(self, url, headers, expected, watch, Vec::new())?;
        Ok(transfer.run().await?.finish().0)
    }
}

/// Why a host does not answer anything at all in this time; `None` where it does.
pub(crate) async fn silence(trust: &Trust, url: &str, within: Duration) -> Option<String> {
    // Where it would lead to does not matter: an answer is an answer.
    let client = match client(trust, Patience::default(), Policy::none()) {
        Ok(client) => client,
        Err(error) => return Some(error.to_string()),
    };
    match tokio::time::timeout(within, client.head(url).send()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{url} does not answer: {}", causes(&error.without_url()))),
        Err(_) => Some(format!("{url} did not answer within {} s", within.as_secs_f32())),
    }
}

fn client(trust: &Trust, patience: Patience, redirects: Policy) -> Result<Client, Error> {
    // reqwest takes the process-wide provider; where another part of the program set it, that one stays.
    let _ = Arc::new(rustls::crypto::aws_lc_rs::default_provider()).as_ref().clone().install_default();
    let builder = Client::builder()
        .https_only(!matches!(trust, Trust::Loopback))
        .redirect(redirects)
        .referer(false)
        .user_agent(concat!("kubezt/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(patience.connect)
        .read_timeout(patience.stall);
    let builder = match trust {
        Trust::System => builder,
        Trust::Authorities(file) => builder.tls_certs_only(authorities(file)?),
        Trust::Loopback => builder.no_proxy().tls_certs_only([]),
    };
    builder.build().map_err(Error::Client)
}

/// Whether a URL may be spoken to.
fn is_admitted(url: &Url, plain: bool) -> bool {
    let loopback = || {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    url.scheme() == "https" || (plain && url.scheme() == "http" && loopback())
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, Error> {
    let bytes = fs_err::read(file).map_err(Error::file("cannot read the authorities of the registry"))?;
    match Certificate::from_pem_bundle(&bytes) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::Authorities { file: file.to_owned() }),
    }
}

/// What a transfer writes to.
trait Target: Write {
    fn clear(&mut self) -> io::Result<()>;
}

impl Target for fs_err::File {
    fn clear(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        self.rewind()
    }
}

impl Target for Vec<u8> {
    fn clear(&mut self) -> io::Result<()> {
        self.truncate(0);
        Ok(())
    }
}

/// Why a try failed.
enum Fault {
    /// It may go well next time, after what the server asks to wait.
    Passing(Error, Option<Duration>),
    /// It would fail again.
    Lasting(Error),
}

/// One file on its way.
struct Transfer<'a, T> {
    downloader: &'a Downloader,
    url: &'a str,
    headers: &'a HeaderMap,
    expected: Expected,
    watch: Watch<'a>,
    writer: HashingWriter<T>,
    /// Strong entity tag of what is there so far.
    tag: Option<HeaderValue>,
    /// Whether what is there came over more than one connection.
    resumed: bool,
}

impl<'a, T: Target> Transfer<'a, T> {
    fn new(
        downloader: &'a Downloader,
        url: &'a str,
        headers: &'a HeaderMap,
        expected: Expected,
        watch: Watch<'a>,
        target: T,
    ) -> Result<Self, Error> {
        let admitted = Url::parse(url).is_ok_and(|url| is_admitted(&url, downloader.plain));
        if !admitted {
            return Err(Error::PlainHttp { url: url.to_owned() });
        }
        let writer = HashingWriter::new(target);
        Ok(Self { downloader, url, headers, expected, watch, writer, tag: None, resumed: false })
    }

    /// Tries until it is there, or cannot be.
    async fn run(mut self) -> Result<HashingWriter<T>, Error> {
        let (url, total) = (self.url, self.downloader.patience.total);
        match tokio::time::timeout(total, self.persist()).await {
            Ok(Ok(())) => Ok(self.writer),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::TooSlow { url: url.to_owned(), seconds: total.as_secs() }),
        }
    }

    async fn persist(&mut self) -> Result<(), Error> {
        let patience = self.downloader.patience;
        let (mut failed, mut furthest) = (0, 0);
        loop {
            let (error, asked) = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(Fault::Lasting(error)) => return Err(error),
                Err(Fault::Passing(error, asked)) => (error, asked),
            };
            // What came again and again over the same bytes is no progress.
            if self.writer.size() >= furthest + GAIN {
                (failed, furthest) = (0, self.writer.size());
            }
            failed += 1;
            if failed >= patience.tries {
                return Err(Error::GaveUp { tries: failed, source: Box::new(error) });
            }
            let wait = asked.unwrap_or(patience.pause * 2_u32.pow(failed - 1));
            if wait > patience.longest {
                return Err(Error::AskedToWait { seconds: wait.as_secs(), source: Box::new(error) });
            }
            (self.watch)(Step::Again { problem: causes(&error), wait });
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&mut self) -> Result<(), Fault> {
        let response = self.send().await?;
        let announced = self.begin(&response)?;
        self.receive(response, announced).await?;
        let wanted = match self.expected.digest {
            Some(wanted) if wanted != self.writer.digest() => wanted,
            _ => return Ok(()),
        };
        let what = self.url.to_owned();
        let error = Error::WrongDigest { what, wanted, found: self.writer.digest() };
        if !self.resumed {
            return Err(Fault::Lasting(error));
        }
        // Two versions may have been put together: once more, in one piece.
        self.restart()?;
        Err(Fault::Passing(error, None))
    }

    async fn send(&self) -> Result<Response, Fault> {
        let mut headers = self.headers.clone();
        if let offset @ 1.. = self.writer.size() {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            headers.extend(range.ok().map(|range| (RANGE, range)));
            headers.extend(self.tag.clone().map(|tag| (IF_RANGE, tag)));
        }
        let sent = self.downloader.client.get(self.url).headers(headers).send().await;
        sent.map_err(|error| self.fault(error))
    }

    /// Looks at what is answered, and makes ready for it. Returns the size the whole will have, where the server says.
    fn begin(&mut self, response: &Response) -> Result<Option<u64>, Fault> {
        let (status, headers) = (response.status(), response.headers());
        let offset = self.writer.size();
        let length = response.content_length();
        let announced = match status {
            StatusCode::OK => {
                // All of it, though a part was asked for: the server knows no ranges, or has another version by now.
                self.restart()?;
                length
            }
            StatusCode::PARTIAL_CONTENT if offset > 0 => {
                let Some(total) = part_from(headers, offset) else {
                    self.restart()?;
                    return Err(self.passing("it sent another part than was asked for".to_owned()));
                };
                self.resumed = true;
                total.or(length.map(|length| offset + length))
            }
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
                self.restart()?;
                return Err(self.passing("it has no such part any more".to_owned()));
            }
            StatusCode::UNAUTHORIZED => {
                let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
                let challenges = challenges.filter_map(|value| value.to_str().ok().map(str::to_owned));
                let (url, challenges) = (self.url.to_owned(), challenges.collect());
                return Err(Fault::Lasting(Error::Unauthorized { url, challenges }));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                return Err(Fault::Passing(self.answer(answered(status)), retry_after(headers)));
            }
            _ if status.is_server_error() => {
                return Err(Fault::Passing(self.answer(answered(status)), retry_after(headers)));
            }
            _ => return Err(Fault::Lasting(self.answer(answered(status)))),
        };
        let wrong = announced.filter(|announced| match self.expected.size {
            Size::Exactly(wanted) => *announced != wanted,
            Size::AtMost(most) => *announced > most,
        });
        if let Some(announced) = wrong {
            return Err(Fault::Lasting(self.wrong_size(format!("{announced} bytes"))));
        }
        self.tag = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        Ok(announced)
    }

    async fn receive(&mut self, mut response: Response, announced: Option<u64>) -> Result<(), Fault> {
        let most = self.expected.size.most();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(error))? {
            if self.writer.size() + chunk.len() as u64 > most {
                return Err(Fault::Lasting(self.wrong_size(format!("more than {most} bytes"))));
            }
            self.writer.write_all(&chunk).map_err(|error| self.unwritten(error))?;
            (self.watch)(Step::Received { bytes: self.writer.size(), total: announced });
        }
        let whole = match self.expected.size {
            Size::Exactly(wanted) => Some(wanted),
            Size::AtMost(_) => announced,
        };
        match whole.filter(|whole| self.writer.size() < *whole) {
            Some(whole) => {
                let size = self.writer.size();
                Err(self.passing(format!("it ended after {size} of {whole} bytes")))
            }
            None => Ok(()),
        }
    }

    fn restart(&mut self) -> Result<(), Fault> {
        self.resumed = false;
        self.tag = None;
        let cleared = self.writer.restart(T::clear);
        cleared.map_err(|error| self.unwritten(error))
    }

    fn fault(&self, error: reqwest::Error) -> Fault {
        let lasting = error.is_builder() || error.is_redirect();
        // The URL in the error may be that of a redirect, with a signature that lets anybody in.
        let (url, source) = (self.url.to_owned(), error.without_url());
        match is_untrusted(&source) {
            true => Fault::Lasting(Error::Untrusted { url, source }),
            false if lasting => Fault::Lasting(Error::Download { url, source }),
            false => Fault::Passing(Error::Download { url, source }, None),
        }
    }

    fn unwritten(&self, error: io::Error) -> Fault {
        Fault::Lasting(Error::file(format!("cannot keep {}", self.url))(error))
    }

    fn passing(&self, problem: String) -> Fault {
        Fault::Passing(self.answer(problem), None)
    }

    fn answer(&self, problem: String) -> Error {
        Error::Answer { url: self.url.to_owned(), problem }
    }

    fn wrong_size(&self, found: String) -> Error {
        let wanted = match self.expected.size {
            Size::Exactly(bytes) => format!("{bytes} bytes"),
            Size::AtMost(bytes) => format!("at most {bytes} bytes"),
        };
        Error::WrongSize { what: self.url.to_owned(), wanted, found }
    }
}

fn answered(status: StatusCode) -> String {
    format!("the server answered {status}")
}

/// The size of the whole that a part from `offset` to the end says, `None` inside where it does not know it; `None` where it
/// is another part. `Content-Range: bytes 5-9/10` or `bytes 5-9/*`.
fn part_from(headers: &HeaderMap, offset: u64) -> Option<Option<u64>> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (part, total) = range.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let total: Option<u64> = if total == "*" { None } else { Some(total.parse().ok()?) };
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let to_the_end = total.is_none_or(|total| last.checked_add(1) == Some(total));
    (first == offset && to_the_end).then_some(total)
}

/// How long a server asks to be left alone: seconds, or a date, which is measured against the server's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let wait = date(asked)?.duration_since(date(text(DATE)?)?);
    Some(wait.try_into().unwrap_or_default())
}

/// Whether a server's certificate was refused, which waiting does not mend.
fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    // What an I/O error was made of is not its source, but that one's.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.is_some_and(|wrapped| is_untrusted(wrapped)) || error.source().is_some_and(is_untrusted)
}

#[cfg(test)]
mod tests;
