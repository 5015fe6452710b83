//! Static pods of the control plane. Each of them starts after what it talks to, and is replaced one node after the other.

use kubezt_model::action::{Action, Condition};
use kubezt_model::desired::OnChange;
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::{Disruption, StepId};

use super::NodeContext;
use super::draft::Actions;
use super::files::{difference, put_files};
use crate::order::Draft;

/// How long a static pod may take to run as its manifest says: an image start, plus etcd's first election.
const STATIC_POD_TIMEOUT_SECONDS: u32 = 180;

/// How long a static pod may take to end, as kubelet gives it (`terminationGracePeriodSeconds`). An API server waits for calls that
/// its etcd, which has just been restarted as well, never answers.
const GRACE_SECONDS: u32 = 30;

/// How long an API server without etcd may: whatever it waits for does not come.
const LOST_GRACE_SECONDS: u32 = 2;

/// How long an API server may take to be ready: it may have to start, and asks an etcd that it lost again after pauses that grow to
/// two minutes (gRPC connection backoff).
const API_SERVER_TIMEOUT_SECONDS: u32 = 240;

/// Name of etcd's static pod.
const ETCD: &str = "etcd";

/// Name of the API server's.
const API_SERVER: &str = "kube-apiserver";

/// Manifests of etcd and, where it runs already, of the API server beside it.
pub(super) fn control_plane(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let together = !begins(context);
    let interrupts = static_pods(context, &mut actions, |pod| pod == ETCD || together && pod == API_SERVER);
    // The next API server is not restarted before this one is ready, whose clients may have gone to it. An API server whose etcd
    // restarts is as little there as one that restarts itself.
    if together && interrupts != Disruption::None {
        actions.follow(until_it_serves(context));
    }
    let needs = ["images", "configuration", "etcd-member"].map(|what| context.id(what)).to_vec();
    actions.into_draft(context, "control-plane", "Write static pods", needs, interrupts)
}

/// The manifest of an API server that begins: etcd beside it answers by then. Each of its many clients of etcd that asked too early
/// would pause before it asks again (gRPC connection backoff).
pub(super) fn api_server(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let mut starts = Actions::default();
    let interrupts = static_pods(context, &mut starts, |pod| pod == API_SERVER && begins(context));
    if !starts.is_empty() {
        actions.follow(until_etcd_is_current());
        actions.extend(starts);
    }
    // A server of a new cluster refuses to say whether it is ready before rights are granted.
    if context.etcd.joins(context.name()) {
        actions.follow(until_it_serves(context));
    }
    let needs = ["images", "kubelet", "etcd-promotion"].map(|what| context.id(what)).to_vec();
    actions.into_draft(context, "api-server", "Start the API server", needs, interrupts)
}

/// Manifests of what works through the API, which answers by then: what asks too early asks again after pauses that grow to half a
/// minute.
pub(super) fn controllers(context: &NodeContext<'_>) -> Draft {
    let mut actions = Actions::default();
    let interrupts = static_pods(context, &mut actions, |pod| ![ETCD, API_SERVER].contains(&pod));
    let mut needs = ["images", "api-server"].map(|what| context.id(what)).to_vec();
    if !context.assessment.api_reachable {
        needs.push(StepId::cluster("api-ready"));
    }
    actions.into_draft(context, "controllers", "Start controllers", needs, interrupts)
}

/// Whether the API server starts for the first time, or after it was without its etcd.
fn begins(context: &NodeContext<'_>) -> bool {
    !kubelet_runs(context) || context.etcd.joins(context.name())
}

/// Manifests of static pods: kubelet notices them and replaces the pod, which is waited for where kubelet runs already. A pod
/// whose manifest is right, and that started with a file which was not, is restarted. Answers what that interrupts.
fn static_pods(
    context: &NodeContext<'_>,
    actions: &mut Actions,
    chosen: impl Fn(&str) -> bool,
) -> Disruption {
    let kubelet_runs = kubelet_runs(context);
    let mut interrupts = Disruption::None;
    for (file, pod) in context.desired.static_pods().filter(|(_, pod)| chosen(pod)) {
        // A manifest of the same content starts nothing, so after another mode or owner there is nothing to wait for.
        let replaces = context.file(&file.path).and_then(|seen| seen.digest) != Some(file.digest());
        put_files(context, actions, |on_change| *on_change == file.on_change);
        if !kubelet_runs {
            continue;
        }
        if replaces {
            actions.follow(Action::Wait {
                condition: Condition::StaticPodCurrent { name: pod.to_owned(), manifest: file.path.clone() },
                timeout_seconds: STATIC_POD_TIMEOUT_SECONDS,
            });
        } else if let Some((why, grace_seconds)) = outdated(context, pod) {
            let restart = Action::RestartStaticPod {
                name: pod.to_owned(),
                manifest: file.path.clone(),
                grace_seconds,
                timeout_seconds: STATIC_POD_TIMEOUT_SECONDS,
            };
            actions.add(restart, "restart", &format!("pod {pod}"), why);
        } else {
            continue;
        }
        if pod == ETCD {
            // The next member is not restarted before this one is back.
            actions.follow(until_etcd_is_current());
        }
        interrupts = interrupts.max(match pod {
            ETCD => Disruption::EtcdMember,
            API_SERVER => Disruption::ApiServer,
            _ => Disruption::Controllers,
        });
    }
    interrupts
}

fn kubelet_runs(context: &NodeContext<'_>) -> bool {
    super::units::is_active(context, super::kubelet::KUBELET)
}

fn until_etcd_is_current() -> Action {
    Action::Wait { condition: Condition::EtcdCurrent, timeout_seconds: STATIC_POD_TIMEOUT_SECONDS }
}

fn until_it_serves(context: &NodeContext<'_>) -> Action {
    let condition = Condition::ApiServerReady { address: context.api_server() };
    Action::Wait { condition, timeout_seconds: API_SERVER_TIMEOUT_SECONDS }
}

/// Why a pod that runs has to start again, and how many seconds it may take to end; `None` where it runs with what is to be there.
fn outdated(context: &NodeContext<'_>, pod: &str) -> Option<(String, u32)> {
    let Reading::Processes(running) = context.reading(&Read::Process { name: pod.to_owned() }) else {
        return None;
    };
    // A process that still ends may run beside the new one.
    let started = running.iter().map(|process| process.started).max()?;
    // It would call itself ready and leave calls unanswered: each of its clients of etcd pauses by itself, for up to two minutes.
    if pod == API_SERVER && context.etcd.joins(context.name()) {
        return Some(("it was without its etcd".to_owned(), LOST_GRACE_SECONDS));
    }
    let read = OnChange::ReadAtStart(pod.to_owned());
    let files = || context.desired.files.iter().filter(|file| file.on_change == read);
    let bundles = || context.desired.bundles.iter().filter(|bundle| bundle.on_change == read);
    let file = files().find(|file| difference(file, context.facts.file(&file.path)).is_some());
    let bundle =
        || bundles().find(|bundle| context.assessment.bundle(context.name(), &bundle.path).is_some());
    let changes = file.map(|file| &file.path).or_else(|| bundle().map(|bundle| &bundle.path));
    let paths = || files().map(|file| &file.path).chain(bundles().map(|bundle| &bundle.path));
    let newer = || context.changed_after(started, paths().map(String::as_str));
    let why = match changes {
        Some(path) => Some(format!("{path} changes, which it reads when it starts")),
        None => newer().map(|path| format!("{path} changed after it started")),
    };
    why.map(|why| (why, GRACE_SECONDS))
}
