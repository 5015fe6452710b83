module kubezt.dev/images/cilium

go 1.26.8

require github.com/cilium/cilium v1.20.2

replace (
	github.com/osrg/gobgp/v4 => github.com/osrg/gobgp/v4 v4.8.0
	sigs.k8s.io/controller-tools => github.com/cilium/controller-tools v0.21.0-1
	// One constant of this module is used; see the package comment.
	sigs.k8s.io/mcs-api/controllers => ./mcs-api-controllers
)
