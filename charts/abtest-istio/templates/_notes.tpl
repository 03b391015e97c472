{{- define "abtest-istio.notes" -}}
{{- $ns := include "abtest-istio.namespace" . -}}
{{- $weights := include "abtest-istio.weights" . | fromJson -}}
{{- $by := include "abtest-istio.rollouts" (dict "root" . "mode" "Gateway") | fromJsonArray -}}
Requests to {{ .Values.uri.prefix }}... with `x-api-version: blue` or `green` reach that version; of all others
{{- if $by }} the rollout {{ join ", " $by }} decides, and the weights of the document ({{ $weights.green }} and {{ $weights.blue }}) count for nothing.
{{- else if $weights.of }} green gets {{ $weights.green }} and blue {{ $weights.blue }}, which are the weights of the rollout {{ join ", " $weights.of }}: they were kept as they are in the cluster.
{{- else }} green gets {{ $weights.green }} and blue {{ $weights.blue }}.
{{- end }}
{{- if or $by $weights.of }}
Without rollout.enabled an upgrade leaves a rollout as it is, and so does `helm uninstall`. `kubectl delete modelrollout` ends it, and then these weights count.
{{- end }}
{{- with .Values.servedByHeader }}
Each answer says in the header {{ . }} which version gave it.
{{- end }}

     ./charts/load_test.sh 10 http://$GATEWAY_IP{{ if ne (int .Values.ingress.port) 80 }}:{{ .Values.ingress.port }}{{ end }}{{ .Values.uri.prefix }}
{{- $host := first .Values.ingress.hosts | replace "*." "any." }}{{ if ne $host "*" }} --header 'host: {{ $host }}'{{ end }}
     turnout check -n {{ $ns }}
{{- if eq .Values.as "configmap" }}

The documents are in the ConfigMap {{ .Values.configMap.name }}. Turnout's release in {{ .Values.configMap.namespace }} reads them with

     --set documents.source=configmap --set documents.existingConfigMap={{ .Values.configMap.name }} --set 'namespaces={ {{- $ns -}} }'
{{- end }}
{{- if ne $ns .Release.Namespace }}

WARNING: the release is in {{ .Release.Namespace }}, its objects are for {{ $ns }} (the value `namespace`; empty, it is the release's).
{{- end }}
{{- end -}}
