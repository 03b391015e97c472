{{/* The controller's rights, and why it has each; in the end those of users. None reads Secrets; none reaches beyond the namespaces that the values
     name. */}}

{{- define "turnout.releaseRules" -}}
{{- if .Values.gateway.enabled }}
# What it publishes, and the mark that stops it when the release goes.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "turnout.routes" . }}]
  verbs: [get, update, patch]
{{- if not (include "turnout.documentsFromObjects" .) }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "turnout.documents" . }}]
  verbs: [get]
{{- end }}
# Hints that one of them changed.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch]
{{- end }}
# One of several replicas leads; the last one takes the lease away. A creation cannot be bound to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "turnout.lease" . }}]
  verbs: [get, update, patch, delete]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- if .Values.gateway.enabled }}
# Which gateways are live.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# The nudge, an annotation that makes kubelet bring the new routes at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- end }}
{{ include "turnout.eventRules" . }}
{{- end -}}

{{/* Takes root and namespace. */}}
{{- define "turnout.governedRules" -}}
{{- with .root }}
# A patch takes the finalizer away that an earlier version has left.
- apiGroups: [turnout.dev]
  resources: [modelrollouts]
  verbs: [get, list, watch, patch]
- apiGroups: [turnout.dev]
  resources: [modelrollouts/status]
  verbs: [update]
{{- if include "turnout.documentsFromObjects" . }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules, gateways, serviceentries]
  verbs: [get, list, watch]
{{- else if include "turnout.istioMode" . }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules]
  verbs: [get, list, watch]
{{- end }}
{{- if include "turnout.istioMode" . }}
# Istio mode: the two weights of a rule.
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [patch]
{{- end }}
{{- if and .Values.gateway.enabled (include "turnout.documentsFromObjects" .) }}
# What is wrong with a document is written into its status.
- apiGroups: [networking.istio.io]
  resources: [virtualservices/status, destinationrules/status, gateways/status, serviceentries/status]
  verbs: [get, patch]
{{- end }}
{{- if include "turnout.twins" . }}
# Headless twins, by which gateways find a model's pods.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, update, delete]
{{- else }}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
{{- end }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- if has $.namespace .Values.managedWorkloads.namespaces }}
# Managed workloads: the models' Deployments, and what the stable one was.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, delete]
{{- else }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch]
{{- end }}
{{ include "turnout.eventRules" . }}
{{- end }}
{{- end -}}

{{- define "turnout.eventRules" -}}
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Takes verbs. Nobody but the controller writes a status. */}}
{{- define "turnout.userRules" -}}
- apiGroups: [turnout.dev]
  resources: [modelrollouts]
  verbs: {{ .verbs | toJson }}
- apiGroups: [turnout.dev]
  resources: [modelrollouts/status]
  verbs: [get]
{{- end -}}
