//! Every command and flag, defined once: help, completions and documentation come from here.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kubezt_model::NodeName;
use kubezt_model::artifacts::{ArtifactSource, ArtifactsSpec};
use kubezt_plan::Selection;

/// Turns bare Linux nodes into a hardened, zero-trust Kubernetes cluster over SSH, and proves that it is one.
#[derive(Debug, Parser)]
#[command(name = "kubezt", version, about, max_term_width = 110, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done or compliant, 1 findings or failed nodes, 2 usage or bad input, \
3 environment, 4 partial and resumable, 5 the plan has changes (plan --exit-code), 70 bug, 130 broken off")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a new cluster file: asks on a terminal, or takes everything from flags
    Init(InitArgs),
    /// Show what install would change on every node, and change nothing
    Plan(PlanArgs),
    /// Bring the nodes to the wanted state, then verify
    Install(InstallArgs),
    /// Judge every requirement of the profile on the running cluster, with evidence
    Verify(VerifyArgs),
    /// Write everything that would be put on the nodes into a folder, without touching a node
    Render(RenderArgs),
    /// Show the nodes' host keys and record them after confirmation
    Trust(TrustArgs),
    /// List the profiles, show what one of them settles, or compare two
    Profile(ProfileArgs),
    /// Explain a requirement or a control: why, how it is set, checked and mended
    Explain(ExplainArgs),
    /// Show when certificates expire, or renew them
    Certs(CertsArgs),
    /// Show nodes, components and certificates of the running cluster
    Status(StatusArgs),
    /// Explain why a node is not Ready or an install hangs, from cause to consequence, and change nothing
    Doctor(DoctorArgs),
    /// List the runs that changed the cluster, or show one of them
    Journal(JournalArgs),
    /// Write a kubeconfig with a short-lived credential under a name
    Kubeconfig(KubeconfigArgs),
    /// Obtain components and images ahead of an install
    Images(ImagesArgs),
    /// Print the JSON Schema of the cluster file, for editors and other tools
    Schema,
    /// Print a script that completes commands and flags in a shell
    Completions(CompletionsArgs),
    /// Write manual pages
    Man(ManArgs),
    /// Show version, cryptographic module and SSH algorithms
    Version,
    /// Find what would make an install fail, on every node at once, and change nothing
    Preflight(PreflightArgs),
    /// What runs on the nodes
    #[command(hide = true)]
    Node(NodeArgs),
    /// What runs in probe pods
    #[command(hide = true)]
    Probe(ProbeArgs),
}

/// `init`
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Example: kubezt init --name prod --profile stig --node cp1=control-plane@10.0.0.1 \
--node w1=worker@10.0.0.2,ssh=w1.example.org --ssh-user admin")]
pub struct InitArgs {
    /// Cluster file to write; one that exists is never overwritten
    #[arg(short = 'f', long = "file", default_value = "cluster.yaml", value_name = "FILE")]
    pub file: PathBuf,
    /// Cluster name
    #[arg(long, value_name = "NAME")]
    pub name: Option<NodeName>,
    /// Profile: a name, or the path of a file of the site, relative to the cluster file
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: Option<String>,
    /// A node (given once for each): host name, `control-plane` or `worker`, its address inside the cluster (one for each
    /// family), and `ssh=` with the host name, address or alias of ssh_config by which SSH reaches it where that differs
    #[arg(long = "node", value_name = "NAME=ROLE@ADDRESS[,ADDRESS][,ssh=HOST]")]
    pub nodes: Vec<String>,
    /// Login name, root or a user who may become root; ssh_config's and then root where absent
    #[arg(long, value_name = "USER")]
    pub ssh_user: Option<String>,
    /// Private key file, relative to the cluster file; no other key is offered then (may be given several times)
    #[arg(long = "ssh-identity", value_name = "FILE")]
    pub ssh_identities: Vec<String>,
    /// DNS name of the API, in every serving certificate; `api.<cluster>.internal` where absent
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<NodeName>,
    /// Further address of the API, such as a load balancer's (may be given several times)
    #[arg(long = "endpoint-address", value_name = "ADDRESS")]
    pub endpoint_addresses: Vec<IpAddr>,
    #[command(flatten)]
    pub artifacts: SourceArgs,
    /// File that holds the passphrase of the operator's secrets, relative to the cluster file; asked for where absent
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<String>,
}

/// Which cluster.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Cluster file
    #[arg(short = 'f', long = "file", default_value = "cluster.yaml", value_name = "FILE")]
    pub file: PathBuf,
    /// Profile, in place of the cluster file's: a name, or the path of a file of the site
    #[arg(long, value_name = "NAME|FILE")]
    pub profile: Option<String>,
}

/// Where the passphrase of the operator's secrets comes from.
#[derive(Debug, Clone, Args)]
pub struct PassphraseArgs {
    /// File holding the passphrase of the operator's secrets, in place of the cluster file's; asked for on a terminal otherwise
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Which findings somebody answers for.
#[derive(Debug, Clone, Args)]
pub struct IgnoreArgs {
    /// Let a preflight check's findings stop nothing, and say why: ID=REASON (may be given several times)
    #[arg(long = "ignore", value_name = "ID=REASON")]
    pub ignore: Vec<String>,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// How the plan is written
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Exit with 5 where the plan has changes, with 0 where it has none
    #[arg(long)]
    pub exit_code: bool,
    /// Leave the diffs of files out
    #[arg(long)]
    pub summary: bool,
    #[command(flatten)]
    pub selection: SelectionArgs,
}

/// What of all that is due is done.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectionArgs {
    /// Only these steps, as plans name them: `w1/kubelet`, or `kubelet` for that step on every node
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Not these steps
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Only steps on these nodes
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub nodes: Vec<NodeName>,
}

impl From<SelectionArgs> for Selection {
    fn from(arguments: SelectionArgs) -> Self {
        let SelectionArgs { only, skip, nodes } = arguments;
        Self { only, skip, nodes }
    }
}

/// `install`
#[derive(Debug, Args)]
pub struct InstallArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// How progress is written
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    pub ignore: IgnoreArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Do what this plan says, as `kubezt plan -o json` wrote it, and nothing else; where more is due by now, do nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "skip", "nodes"])]
    pub plan: Option<PathBuf>,
    /// Where another operator is at work, end that run first; what it did is kept
    #[arg(long)]
    pub take_over: bool,
    /// Leave out the verification at the end
    #[arg(long)]
    pub no_verify: bool,
    /// Write a report of the verification: json=FILE (may be given several times)
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    pub reports: Vec<String>,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Write a report: json=FILE (may be given several times)
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    pub reports: Vec<String>,
    /// Leave out the probes, which make and remove a namespace
    #[arg(long)]
    pub no_probes: bool,
    /// Show passed requirements as well
    #[arg(long)]
    pub all: bool,
}

/// `journal`
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// The run, as the list names it
    pub run: Option<String>,
    /// Draw where the run's time went, as SVG on standard output
    #[arg(long, requires = "run")]
    pub svg: bool,
    /// Read what this control-plane node keeps, which holds the runs of all operators, in place of what is kept here
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// `render`
#[derive(Debug, Args)]
pub struct RenderArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Folder to write into; a folder a node, and `cluster` for what goes into the API
    #[arg(short = 'o', long, value_name = "DIR")]
    pub output: PathBuf,
}

/// `trust`
#[derive(Debug, Args)]
pub struct TrustArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Only these nodes
    pub nodes: Vec<String>,
    /// Record without asking; for use where the fingerprints were compared before
    #[arg(long)]
    pub yes: bool,
}

/// `profile`
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ProfileCommand,
}

/// Commands of `profile`.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the profiles
    List,
    /// Show the requirements and settings of a profile, what it leaves out or loosens, and why
    Show {
        /// Profile name, or the path of a file
        #[arg(value_name = "NAME|FILE")]
        name: String,
    },
    /// Show what changes from one profile to another: settings, requirements and controls won and lost
    Diff {
        /// Profile that is left: a name, or the path of a file
        #[arg(value_name = "A")]
        from: String,
        /// Profile that is taken up: a name, or the path of a file
        #[arg(value_name = "B")]
        to: String,
        /// How it is written
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Requirement id (api-anonymous) or control id (V-242390)
    pub id: String,
}

/// `certs`
#[derive(Debug, Args)]
pub struct CertsArgs {
    /// What to do; without it the certificates are listed
    #[command(subcommand)]
    pub command: Option<CertsCommand>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Commands of `certs`.
#[derive(Debug, Subcommand)]
pub enum CertsCommand {
    /// Issue every leaf certificate anew, keeping the keys; what can reload is not restarted. Nodes renew theirs without it
    Renew {
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// `doctor`
#[derive(Debug, Args)]
#[command(after_help = crate::diagnosis::help())]
pub struct DoctorArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How findings are written
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Write a report: json=FILE (may be given several times)
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    pub reports: Vec<String>,
    /// Write findings and evidence without secrets for support (a new file, 0600)
    #[arg(long, value_name = "FILE.tar.gz")]
    pub bundle: Option<PathBuf>,
}

/// `kubeconfig`
#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Name the credential carries, as it appears in the audit log
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// Group the credential carries
    #[arg(long, default_value = "kubezt:cluster-admins", value_name = "GROUP")]
    pub group: String,
    /// Hours the credential lives, 1 to 24
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=24))]
    pub hours: u32,
    /// File to write (0600)
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `images`
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ImagesCommand,
}

/// Commands of `images`.
#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// Obtain every component of a cluster into the cache
    Build {
        #[command(flatten)]
        source: SourceArgs,
        /// Only these components
        components: Vec<String>,
    },
    /// Fill a folder with everything a machine without a network needs for `artifacts.source: directory`; lists it as
    /// sha256sum does
    Export {
        /// Folder to fill; what is there already and right stays
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        source: SourceArgs,
        /// Only these components
        components: Vec<String>,
    },
}

/// How components are obtained, as `artifacts` of a cluster file says it.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// How components are obtained: release, source, directory, oci or auto; `release` where absent
    #[arg(long)]
    pub source: Option<ArtifactSource>,
    /// For `directory`: a folder that `images export` filled
    #[arg(long, value_name = "DIR")]
    pub directory: Option<String>,
    /// For `oci`: the registry
    #[arg(long, value_name = "HOST[/PREFIX]")]
    pub registry: Option<String>,
    /// For `oci`: the authorities that are believed, in place of those of the system (PEM)
    #[arg(long, value_name = "FILE")]
    pub registry_ca_file: Option<String>,
    /// For `oci`: credentials, as `docker login` writes them (config.json)
    #[arg(long, value_name = "FILE")]
    pub registry_credentials_file: Option<String>,
}

impl From<SourceArgs> for ArtifactsSpec {
    fn from(arguments: SourceArgs) -> Self {
        let SourceArgs { source, directory, registry, registry_ca_file, registry_credentials_file } =
            arguments;
        let source = source.unwrap_or_default();
        Self { source, directory, registry, registry_ca_file, registry_credentials_file }
    }
}

/// `completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// `man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write into, a page for each command
    #[arg(short = 'o', long, value_name = "DIR")]
    pub output: PathBuf,
}

/// `preflight`
#[derive(Debug, Args)]
#[command(after_help = crate::preflight::help())]
pub struct PreflightArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub ignore: IgnoreArgs,
    /// How findings are written
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// `node`
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// Commands of `node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Speak the framed protocol on standard input and output
    Link,
    /// Connect standard input and output to a TCP address
    Dial {
        /// `address:port`
        address: String,
    },
    /// Undo a change that nobody confirmed
    Undo,
    /// Pass loopback connections on to the API servers
    Serve {
        /// Configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Renew this node's certificates that are due; a timer runs it every minute
    Renew,
}

/// `probe`
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ProbeCommand,
}

/// Commands of `probe`.
#[derive(Debug, Subcommand)]
pub enum ProbeCommand {
    /// Accept TCP connections
    Listen {
        /// Port
        #[arg(long)]
        port: u16,
    },
    /// Resolve a name, again and again until it works or time is up
    Resolve {
        /// `host:port`
        target: String,
        /// Seconds to try
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Connect to a TCP address, again and again until it works or time is up
    Connect {
        /// `host:port`
        target: String,
        /// Seconds to try
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}
