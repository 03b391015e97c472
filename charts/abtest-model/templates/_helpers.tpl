{{/* Names, labels, the image, and what it is called as a revision. */}}

{{- define "abtest-model.namespace" -}}{{ .Values.namespace | default .Release.Namespace }}{{- end -}}

{{/* A Deployment's selector cannot change: with these two the chart takes the sample's releases over. */}}
{{- define "abtest-model.selectorLabels" -}}
app: {{ .Values.appname | default (trimSuffix "-svc" .Values.svc.name) | quote }}
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

{{/* A value that --set may have taken for a number; of a larger one a file, or the release, keeps another. Takes name and
     value. */}}
{{- define "abtest-model.text" -}}
{{- if kindIs "string" .value }}{{ .value }}
{{- else if gt (int64 .value) 9007199254740991 -}}
{{- fail (printf "deployment.%s: it has too many digits to be kept as a number; write it as a text, as by --set-string" .name) -}}
{{- else }}{{ int64 .value }}
{{- end -}}
{{- end -}}

{{- define "abtest-model.image" -}}
{{- $image := .Values.deployment.image -}}
{{- if not $image.name -}}
{{- fail "deployment.image.name: no image is named; give one, as --set deployment.image.name=myregistry.azurecr.io/model:7" -}}
{{- end -}}
{{- $name := $image.name -}}
{{- $host := "([A-Za-z0-9][A-Za-z0-9.-]*|\\[[0-9A-Fa-f:]+\\])(:[0-9]+)?/" -}}
{{- $path := "([a-z0-9][a-z0-9._-]*/)*[a-z0-9][a-z0-9._-]*" -}}
{{- if not (regexMatch (printf "^(%s)?%s(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{64})?$" $host $path) $name) -}}
{{- fail (printf "deployment.image.name: %s is not the name of an image; write it as myregistry.azurecr.io/model:7, or with its whole digest behind @sha256:" $name) -}}
{{- end -}}
{{- $has := splitList "/" $name | last -}}
{{- if $image.digest -}}
{{- if contains "@" $has -}}
{{- fail (printf "deployment.image.digest: %s has a digest already; leave one of them out" $name) -}}
{{- end -}}
{{ $name }}@{{ $image.digest }}
{{- else if and $image.tag (not (or (contains ":" $has) (contains "@" $has))) -}}
{{ $name }}:{{ include "abtest-model.text" (dict "name" "image.tag" "value" $image.tag) }}
{{- else -}}
{{ $name }}
{{- end -}}
{{- end -}}

{{/* As a label may be: what follows the last slash, with a digest cut to 12 digits. */}}
{{- define "abtest-model.revision" -}}
{{- if .Values.deployment.revision -}}
{{ include "abtest-model.text" (dict "name" "revision" "value" .Values.deployment.revision) }}
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
