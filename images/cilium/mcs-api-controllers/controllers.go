// Package controllers stands in for a module that the module proxies do not serve; Cilium uses one constant of it.
package controllers

// DerivedServiceAnnotation marks a ServiceImport with the Service that was derived from it (KEP-1645).
const DerivedServiceAnnotation = "multicluster.kubernetes.io/derived-service"
