{{/* Names, labels, the image, and what it is called as a revision. */}}

{{- define "abtest-model.namespace" -}}{{ .Values.namespace | default .Release.Namespace }}{{- end -}}

{{/* A Deployment's selector cannot change: with these two the chart takes the sample's releases over. */}}
{{- define "abtest-model.selectorLabels" -}}
app: {{ .Values.appname | quote }}
model_version: {{ .Values.deployment.bluegreen }}
{{- end -}}

{{/* By `app` and `version` Kiali and Istio's metrics tell the two versions apart. */}}
{{- define "abtest-model.podLabels" -}}
{{ include "abtest-model.selectorLabels" . }}
version: {{ .Values.deployment.bluegreen }}
turnout.dev/revision: {{ include "abtest-model.revision" . | quote }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: {{ .Values.deployment.bluegreen }}
{{- end -}}

{{- define "abtest-model.labels" -}}
{{ include "abtest-model.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* A value that --set may have taken for a number. */}}
{{- define "abtest-model.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ int64 . }}{{ end -}}
{{- end -}}

{{- define "abtest-model.image" -}}
{{- $image := .Values.deployment.image -}}
{{- if not $image.name -}}
{{- fail "deployment.image.name: no image is named; give one, as --set deployment.image.name=myregistry.azurecr.io/model:7" -}}
{{- end -}}
{{- $name := $image.name -}}
{{- $has := splitList "/" $name | last -}}
{{- if $image.digest -}}
{{- if contains "@" $has -}}
{{- fail (printf "deployment.image.digest: %s has a digest already; leave one of them out" $name) -}}
{{- end -}}
{{ $name }}@{{ $image.digest }}
{{- else if and $image.tag (not (or (contains ":" $has) (contains "@" $has))) -}}
{{ $name }}:{{ include "abtest-model.text" $image.tag }}
{{- else -}}
{{ $name }}
{{- end -}}
{{- end -}}

{{/* As a label may be: what follows the last slash, with a digest cut to 12 digits. */}}
{{- define "abtest-model.revision" -}}
{{- if .Values.deployment.revision -}}
{{ include "abtest-model.text" .Values.deployment.revision }}
{{- else -}}
{{- $image := include "abtest-model.image" . -}}
{{- $short := regexReplaceAll "(:[^@]*)?@sha256:([0-9a-f]{12})[0-9a-f]*$" (splitList "/" $image | last) "-${2}" -}}
{{- $label := regexReplaceAll "[^A-Za-z0-9._-]" $short "-" -}}
{{- if gt (len $label) 63 -}}
{{- $label = printf "%s-%s" (trunc 54 $label) (sha256sum $image | trunc 8) -}}
{{- end -}}
{{ regexReplaceAll "^[^A-Za-z0-9]+|[^A-Za-z0-9]+$" $label "" }}
{{- end -}}
{{- end -}}

{{/* Whether the image is the same whenever it is pulled. */}}
{{- define "abtest-model.isFixed" -}}
{{- $has := include "abtest-model.image" . | splitList "/" | last -}}
{{- if or (contains "@" $has) (and (contains ":" $has) (not (hasSuffix ":latest" $has))) }}true{{ end -}}
{{- end -}}
