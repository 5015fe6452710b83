//! What templates see.

use std::net::IpAddr;

use kubezt_model::desired::{Cluster, Node};
use serde_json::{Value, json};
use tera::Context;

use crate::header::{FileHeader, ObjectHeader};
use crate::{Input, RenderError, Secrets, shape, values};

/// What one rendering starts from: the variables, and the settings by dotted path. A copy shares what it holds of the cluster.
#[derive(Clone)]
pub struct Ground {
    settings: Value,
    context: Context,
}

impl Ground {
    /// What API objects see.
    pub fn of_cluster(input: &Input<'_>) -> Self {
        let cluster = input.cluster;
        // Plain data; serialising it does not fail.
        let settings = serde_json::to_value(&cluster.settings).unwrap_or_default();
        let mut context = Context::new();
        context.insert("cluster", cluster);
        context.insert("settings", &cluster.settings);
        context.insert("images", input.images);
        context.insert("controlPlane", &cluster.control_plane().map(node_view).collect::<Vec<_>>());
        context.insert("addresses", &addresses(cluster));
        Self { settings, context }
    }

    /// What files on every node see; it grows with the cluster, so it is made once for all of them.
    pub fn of_nodes(input: &Input<'_>) -> Self {
        let mut ground = Self::of_cluster(input);
        ground.context.insert("requesters", &shape::requesters(input.cluster));
        ground
    }

    /// What files on a node see, from what those on every node do.
    pub fn on(&self, input: &Input<'_>, node: &Node) -> Self {
        let mut ground = self.clone();
        ground.context.insert("node", &node_view(node));
        ground.context.insert("leaves", &shape::leaves(input.cluster, node));
        ground
    }

    /// The variables.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The variables, with the secrets among them.
    pub fn with_secrets(&self, secrets: &Secrets) -> Context {
        let mut context = self.context.clone();
        context.insert("secrets", &json!({"encryptionKey": secrets.encryption_key.expose()}));
        context
    }

    /// The value of a setting.
    pub fn setting(&self, template: &str, path: &str) -> Result<&Value, RenderError> {
        values::at(&self.settings, path).ok_or_else(|| fault(template, path, "does not exist"))
    }

    /// Whether a switch is on, a number not 0, or a list not empty; a template without one is always wanted.
    pub fn wanted(&self, template: &str, when: Option<&str>) -> Result<bool, RenderError> {
        let Some(path) = when else { return Ok(true) };
        match self.setting(template, path)? {
            Value::Bool(switch) => Ok(*switch),
            Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
            Value::Array(list) => Ok(!list.is_empty()),
            _ => Err(fault(template, path, "is neither a switch (true or false) nor a number nor a list")),
        }
    }

    /// Whether API objects are wanted.
    pub fn object_wanted(
        &self,
        template: &str,
        stem: &str,
        header: &ObjectHeader,
    ) -> Result<bool, RenderError> {
        if !self.wanted(template, header.when.as_deref())? {
            return Ok(false);
        }
        let Some(path) = &header.listed_in else { return Ok(true) };
        Ok(self.names(template, path)?.contains(&stem))
    }

    /// The texts of a list.
    pub fn names(&self, template: &str, path: &str) -> Result<Vec<&str>, RenderError> {
        let list =
            self.setting(template, path)?.as_array().ok_or_else(|| fault(template, path, "is no list"))?;
        Ok(list.iter().filter_map(Value::as_str).collect())
    }

    /// Whether a node gets a file.
    pub fn file_wanted(&self, template: &str, header: &FileHeader, node: &Node) -> Result<bool, RenderError> {
        Ok(header.roles.contains(&node.role) && self.wanted(template, header.when.as_deref())?)
    }
}

/// A setting that does not fit what a header wants of it.
pub fn fault(template: &str, setting: &str, problem: &str) -> RenderError {
    RenderError::Setting {
        template: template.to_owned(),
        setting: setting.to_owned(),
        problem: problem.to_owned(),
    }
}

fn node_view(node: &Node) -> Value {
    json!({
        "name": node.name,
        "role": node.role,
        "address": node.address(),
        "addresses": node.addresses,
        "labels": node.labels,
        "taints": node.taints,
    })
}

/// Internal addresses of all nodes, by family.
fn addresses(cluster: &Cluster) -> Value {
    let family = |wanted: fn(&IpAddr) -> bool| -> Vec<IpAddr> {
        cluster.nodes.iter().flat_map(|node| node.addresses.iter().copied()).filter(wanted).collect()
    };
    json!({"ipv4": family(IpAddr::is_ipv4), "ipv6": family(IpAddr::is_ipv6)})
}
