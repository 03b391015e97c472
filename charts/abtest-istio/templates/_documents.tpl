{{/* The routing documents. */}}

{{- define "abtest-istio.gateway" -}}
apiVersion: {{ include "abtest-istio.apiVersion" . }}
kind: Gateway
metadata:
  name: {{ .Values.ingress.name | quote }}
  namespace: {{ include "abtest-istio.namespace" . | quote }}
  labels:
    {{- include "abtest-istio.labels" . | nindent 4 }}
spec:
  selector:
    {{- toYaml .Values.ingress.selector | nindent 4 }}
  servers:
    - port:
        number: {{ .Values.ingress.port }}
        name: http
        protocol: HTTP
      hosts:
        {{- toYaml .Values.ingress.hosts | nindent 8 }}
{{- end -}}

{{/* Rules are tried in order, and the first match wins: so a request that picks its version is never split. */}}
{{- define "abtest-istio.virtualService" -}}
{{- $weights := include "abtest-istio.weights" . | fromJson -}}
apiVersion: {{ include "abtest-istio.apiVersion" . }}
kind: VirtualService
metadata:
  name: {{ .Values.virtualService.name | quote }}
  namespace: {{ include "abtest-istio.namespace" . | quote }}
  labels:
    {{- include "abtest-istio.labels" . | nindent 4 }}
spec:
  gateways:
    - {{ .Values.ingress.name | quote }}
  hosts:
    {{- toYaml .Values.ingress.hosts | nindent 4 }}
  http:
    {{- range list "blue" "green" }}
    - name: {{ . }}
      match:
        - uri:
            prefix: {{ $.Values.uri.prefix | quote }}
          headers:
            x-api-version:
              exact: {{ . }}
      route:
        {{- include "abtest-istio.destination" (dict "root" $ "colour" .) | nindent 8 }}
    {{- end }}
    - name: split
      route:
        {{- range list "green" "blue" }}
        {{- include "abtest-istio.destination" (dict "root" $ "colour" .) | nindent 8 }}
          weight: {{ index $weights . | int }}
        {{- end }}
{{- end -}}

{{/* Takes root and colour. */}}
{{- define "abtest-istio.destination" -}}
- destination:
    host: {{ include "abtest-istio.host" . }}
    port:
      number: {{ .root.Values.svc.port }}
  {{- with .root.Values.servedByHeader }}
  headers:
    response:
      set:
        {{ . | quote }}: {{ $.colour }}
  {{- end }}
{{- end -}}
