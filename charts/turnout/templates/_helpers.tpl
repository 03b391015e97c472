{{/* Names, labels and images. Templates with a component take a dict of root and component. */}}

{{- define "turnout.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave room for the longest suffix within the 63 of a Service's name. */}}
{{- define "turnout.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "turnout.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "turnout.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "turnout.gateway" -}}{{ include "turnout.fullname" . }}-gateway{{- end -}}
{{- define "turnout.controller" -}}{{ include "turnout.fullname" . }}-controller{{- end -}}
{{- define "turnout.routes" -}}{{ include "turnout.fullname" . }}-routes{{- end -}}
{{- define "turnout.lease" -}}{{ .Release.Name }}-controller{{- end -}}

{{- define "turnout.documents" -}}
{{- .Values.documents.existingConfigMap | default (printf "%s-documents" (include "turnout.fullname" .)) -}}
{{- end -}}

{{/* Without a gateway there is nobody to publish to: the documents are the objects that Istio reads. */}}
{{- define "turnout.documentsFromObjects" -}}
{{- if or (not .Values.gateway.enabled) (eq .Values.documents.source "objects") }}true{{ end -}}
{{- end -}}

{{- define "turnout.istioMode" -}}
{{- if or .Values.istioMode.enabled (not .Values.gateway.enabled) }}true{{ end -}}
{{- end -}}

{{/* Headless twins serve gateways only. */}}
{{- define "turnout.twins" -}}
{{- if and .Values.gateway.enabled (eq .Values.registry "twins") }}true{{ end -}}
{{- end -}}

{{/* The governed namespaces as a JSON list. */}}
{{- define "turnout.namespaces" -}}
{{- .Values.namespaces | default (list .Release.Namespace) | toJson -}}
{{- end -}}

{{/* What never changes, since a Deployment's selector cannot. The name is the chart's whatever nameOverride says: by it
     `turnout` finds the gateways of every installation. */}}
{{- define "turnout.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | toYaml }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The same pods by another label of theirs, for a second Service: some clusters refuse two with one selector. */}}
{{- define "turnout.metricsSelector" -}}
app.kubernetes.io/part-of: turnout
app.kubernetes.io/instance: {{ .root.Release.Name | toYaml }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "turnout.labels" -}}
{{ include "turnout.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: turnout
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Neither the chart's version nor the app's is on pods: a new chart alone does not restart them. */}}
{{- define "turnout.podLabels" -}}
{{- $fixed := include "turnout.selectorLabels" . | fromYaml -}}
{{- $fixed = set $fixed "app.kubernetes.io/part-of" "turnout" -}}
{{- toYaml (mergeOverwrite (dict) .root.Values.commonLabels (.extra | default dict) $fixed) -}}
{{- end -}}

{{/* Takes root and image. */}}
{{- define "turnout.image" -}}
{{- $name := .image.repository -}}
{{- with .root.Values.imageRegistry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}
