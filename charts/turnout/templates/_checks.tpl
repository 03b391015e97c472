{{/* What a schema cannot say of values: how they fit each other. Included once, by the controller's Deployment. */}}
{{- define "turnout.checks" -}}
{{- $ports := list (int .Values.gateway.statusPort) 9901 -}}
{{- $served := list -}}
{{- $names := list -}}
{{- range .Values.gateway.service.ports -}}
{{- if has (int .targetPort) $ports -}}
{{- fail (printf "gateway.service.ports: targetPort %d is taken: by another port, the status port (gateway.statusPort), or the admin port 9901" (int .targetPort)) -}}
{{- end -}}
{{- if has (int .port) $served -}}
{{- fail (printf "gateway.service.ports: port %d stands there twice" (int .port)) -}}
{{- end -}}
{{- if has .name $names -}}
{{- fail (printf "gateway.service.ports: name %s stands there twice" .name) -}}
{{- end -}}
{{- $ports = append $ports (int .targetPort) -}}
{{- $served = append $served (int .port) -}}
{{- $names = append $names .name -}}
{{- end -}}

{{- $needed := include "turnout.gracePeriod" . | int -}}
{{- with .Values.gateway.terminationGracePeriodSeconds -}}
{{- if lt (int .) $needed -}}
{{- fail (printf "gateway.terminationGracePeriodSeconds: %d is too short, requests would be cut: the four values of gateway.drain sum up to %d; raise it, or shorten those" (int .) $needed) -}}
{{- end -}}
{{- end -}}

{{- if and .Values.gateway.autoscaling.enabled (gt (int .Values.gateway.autoscaling.minReplicas) (int .Values.gateway.autoscaling.maxReplicas)) -}}
{{- fail (printf "gateway.autoscaling.minReplicas: %d is above maxReplicas, %d" (int .Values.gateway.autoscaling.minReplicas) (int .Values.gateway.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and .Values.gateway.autoscaling.enabled (not .Values.gateway.autoscaling.targetCPUUtilizationPercentage) (not .Values.gateway.autoscaling.targetMemoryUtilizationPercentage) -}}
{{- fail "gateway.autoscaling: name a target: targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage, or both" -}}
{{- end -}}

{{- $probe := .Values.gateway.service.azure.healthProbe -}}
{{- if and (has $probe.protocol (list "http" "https")) (not $probe.path) -}}
{{- fail (printf "gateway.service.azure.healthProbe.path: an %s probe needs a path that a route answers with 200" $probe.protocol) -}}
{{- end -}}
{{- if and .Values.gateway.service.azure.internalSubnet (not .Values.gateway.service.azure.internal) -}}
{{- fail "gateway.service.azure.internalSubnet: only an internal load balancer has one; set gateway.service.azure.internal" -}}
{{- end -}}

{{- if .Values.documents.inline -}}
{{- if not .Values.gateway.enabled -}}
{{- fail "documents.inline: without a gateway nothing is published; apply the documents as objects" -}}
{{- else if eq .Values.documents.source "objects" -}}
{{- fail "documents.inline: the documents come from objects (documents.source), and the two are never merged; apply these as objects, or set documents.source: configmap" -}}
{{- else if .Values.documents.existingConfigMap -}}
{{- fail "documents.inline: the documents come from documents.existingConfigMap; put these into it, or leave its name empty" -}}
{{- end -}}
{{- end -}}

{{- if hasKey .Values.managedWorkloads "enabled" -}}
{{- fail "managedWorkloads.enabled: managedWorkloads.namespaces has taken its place; list the governed namespaces there in which the controller may make Deployments" -}}
{{- end -}}
{{- range .Values.managedWorkloads.namespaces -}}
{{- if not (has . (include "turnout.namespaces" $ | fromJsonArray)) -}}
{{- fail (printf "managedWorkloads.namespaces: %s is not governed by this release; list it in namespaces, too" .) -}}
{{- end -}}
{{- end -}}

{{- /* To look for a kind that the API server has not is an error. */ -}}
{{- if and .Values.crds.istio.install (.Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1/GatewayClass") -}}
{{- if lookup "gateway.networking.k8s.io/v1" "GatewayClass" "" "approuting-istio" -}}
{{- fail "crds.istio.install: the cluster has the GatewayClass approuting-istio, and AKS's application routing does not start beside Istio's CRDs; leave them out, and give the documents by a ConfigMap (documents.source=configmap)" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* From the pod's deletion to the end of its last request, in seconds. */}}
{{- define "turnout.gracePeriod" -}}
{{- with .Values.gateway.drain -}}
{{- add .preStopSleepSeconds .shutdownDelaySeconds .timeoutSeconds .marginSeconds -}}
{{- end -}}
{{- end -}}

{{/* Fails where a CustomResourceDefinition exists that this release does not own. Takes root, name and value: what the
     user may set instead. `helm template` and `helm lint` see no cluster, and pass. */}}
{{- define "turnout.mayInstall" -}}
{{- with lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" .name -}}
{{- $owner := dict "name" (dig "annotations" "meta.helm.sh/release-name" "" .metadata) "namespace" (dig "annotations" "meta.helm.sh/release-namespace" "" .metadata) -}}
{{- if or (ne $owner.name $.root.Release.Name) (ne $owner.namespace $.root.Release.Namespace) -}}
{{- $who := "somebody else, not a Helm release" -}}
{{- if $owner.name }}{{ $who = printf "the Helm release %s in namespace %s" $owner.name $owner.namespace }}{{ end -}}
{{- $advice := "" -}}
{{- if eq (dig "labels" "app.kubernetes.io/part-of" "" .metadata) "turnout" -}}
{{- $advice = printf "; if that release is gone, take it over with kubectl annotate --overwrite crd %s meta.helm.sh/release-name=%s meta.helm.sh/release-namespace=%s" $.name $.root.Release.Name $.root.Release.Namespace -}}
{{- end -}}
{{- fail (printf "the CustomResourceDefinition %s exists already and belongs to %s; use it as it is with --set %s=false%s" $.name $who $.value $advice) -}}
{{- end -}}
{{- end -}}
{{- end -}}
