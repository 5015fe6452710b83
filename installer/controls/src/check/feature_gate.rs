//! Feature gates, wherever they can be set.

use kubezt_model::cluster::Role;
use kubezt_model::desired::Node;
use kubezt_model::node::Read;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command_line::{self, CommandLine};
use super::op::show;
use super::{Component, Expectation, Judged, NodeContext, Op, kubelet};

/// What is wanted of a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FeatureGateCheck {
    /// Name of the gate; `*` means that any gate counts, which goes with `op: unset`.
    pub gate: String,
    /// How its value is compared.
    pub op: Op,
    /// With what.
    #[serde(default)]
    pub value: Option<Value>,
    /// Where it is looked for.
    #[serde(rename = "where")]
    pub places: Vec<GatePlace>,
}

/// Where gates are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatePlace {
    /// The control plane's components: running processes and manifests.
    Manifests,
    /// `featureGates` of kubelet's configuration.
    KubeletConfig,
    /// kubelet's command line.
    KubeletCli,
}

/// The flag all components share.
const FLAG: &str = "feature-gates";

impl FeatureGateCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.places.is_empty() {
            return Err("a feature-gate check needs `where`".to_owned());
        }
        if self.gate == "*" && self.op != Op::Unset {
            return Err("`gate: \"*\"` goes with `op: unset`".to_owned());
        }
        Expectation::new(self.op, self.value.as_ref()).map(drop)
    }

    /// Whether there is anything to look at on nodes of this role.
    pub fn runs_on(&self, role: Role) -> bool {
        self.places.iter().any(|place| place.runs_on(role))
    }

    fn places(&self, node: &Node) -> impl Iterator<Item = GatePlace> {
        self.places.iter().copied().filter(|place| place.runs_on(node.role))
    }

    /// Processes and files of the places on this node.
    pub fn reads(&self, node: &Node) -> Vec<Read> {
        let mut reads = Vec::new();
        for place in self.places(node) {
            match place {
                GatePlace::Manifests => {
                    for component in gated() {
                        reads.push(component.process_read());
                        reads.extend(component.manifest_read());
                    }
                }
                GatePlace::KubeletConfig => reads.extend(kubelet::reads()),
                GatePlace::KubeletCli => reads.push(Component::Kubelet.process_read()),
            }
        }
        reads
    }

    /// Judges every place.
    ///
    /// # Errors
    /// Something could not be read.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let expectation = Expectation::new(self.op, self.value.as_ref())?;
        let mut judged = Vec::new();
        for place in self.places(context.node) {
            match place {
                GatePlace::Manifests => {
                    for component in gated() {
                        for process in command_line::processes(context, component)? {
                            let line = command_line::of_process(process);
                            judged.push(self.judge_line(
                                &expectation,
                                &format!("running {}", component.name()),
                                &line,
                            )?);
                        }
                        let line = command_line::of_manifest(context, component)?;
                        judged.push(self.judge_line(
                            &expectation,
                            &format!("manifest of {}", component.name()),
                            &line,
                        )?);
                    }
                }
                GatePlace::KubeletConfig => {
                    let document = kubelet::configuration(context, &kubelet::lines(context)?)?;
                    let gates = &document["featureGates"];
                    let value = if self.gate == "*" { whole(gates) } else { gates.get(&self.gate).cloned() };
                    judged.push(self.judge_value(&expectation, kubelet::CONFIGURATION, value.as_ref())?);
                }
                GatePlace::KubeletCli => {
                    for line in kubelet::lines(context)? {
                        judged.push(self.judge_line(&expectation, "running kubelet", &line)?);
                    }
                }
            }
        }
        Ok(Judged::all(judged))
    }

    fn judge_line(
        &self,
        expectation: &Expectation,
        place: &str,
        line: &CommandLine,
    ) -> Result<Judged, String> {
        let mut value = None;
        for list in line.values(FLAG, false) {
            for pair in list.split(',').map(str::trim) {
                let (name, text) = pair.split_once('=').unwrap_or((pair, "true"));
                if self.gate == "*" || name == self.gate {
                    value = Some(Value::String(text.to_owned()));
                }
            }
        }
        self.judge_value(expectation, place, value.as_ref())
    }

    fn judge_value(
        &self,
        expectation: &Expectation,
        place: &str,
        value: Option<&Value>,
    ) -> Result<Judged, String> {
        let gate = if self.gate == "*" { "feature gates" } else { &self.gate };
        let seen = value.map_or_else(|| "not set".to_owned(), |value| format!("= {}", show(value)));
        Ok(Judged::of(
            expectation.holds(value)?,
            format!("{gate} with {}", expectation.words()),
            format!("{place}: {gate} {seen}"),
        ))
    }
}

/// The components with Kubernetes feature gates; etcd has its own.
fn gated() -> impl Iterator<Item = Component> {
    Component::CONTROL_PLANE.into_iter().filter(|component| *component != Component::Etcd)
}

fn whole(gates: &Value) -> Option<Value> {
    gates.as_object().filter(|map| !map.is_empty()).map(|map| Value::Object(map.clone()))
}

impl GatePlace {
    fn runs_on(self, role: Role) -> bool {
        self != Self::Manifests || role == Role::ControlPlane
    }
}
