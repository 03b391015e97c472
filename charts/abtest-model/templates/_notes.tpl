{{- define "abtest-model.notes" -}}
{{- $ns := include "abtest-model.namespace" . -}}
{{- $revision := include "abtest-model.revision" . -}}
{{ .Values.deployment.bluegreen }} is the Deployment {{ .Values.deployment.name }} in {{ $ns }}, behind the Service {{ .Values.svc.name }}-{{ .Values.deployment.bluegreen }}. It serves the revision {{ $revision }}.

     kubectl rollout status -n {{ $ns }} deployment/{{ .Values.deployment.name }}      # or helm's own --wait
{{- if eq .Values.deployment.bluegreen "blue" }}

That sends it nothing but what asks for it by `x-api-version: blue`. To give it a share of the rest, where a ModelRollout governs:

     turnout rollout start -n {{ $ns }} NAME --revision {{ $revision }} --wait
     turnout rollout promote -n {{ $ns }} NAME --wait

Before you uninstall this release:

     turnout wait -n {{ $ns }} NAME --safe-to-remove blue
{{- end }}
{{- if not (or .Values.deployment.revision (include "abtest-model.isFixed" .)) }}

WARNING: {{ include "abtest-model.image" . }} may be another image tomorrow under the same revision. Name it by a tag of its own or by its digest, or say --set deployment.revision=....
{{- end }}
{{- if ne $ns .Release.Namespace }}

WARNING: the release is in {{ .Release.Namespace }}, its objects are in {{ $ns }} (the value `namespace`; empty, it is the release's).
{{- end }}
{{- end -}}
