module kubezt.dev/images/helm

go 1.26.8

require helm.sh/helm/v3 v3.18.4
