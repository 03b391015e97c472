{{/* Parts of network policies. */}}

{{- define "turnout.dnsEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{/* Models listen where they like. */}}
{{- define "turnout.modelsEgress" -}}
- to:
    - namespaceSelector:
        matchExpressions:
          - key: kubernetes.io/metadata.name
            operator: In
            values: {{ include "turnout.namespaces" . }}
{{- end -}}

{{/* The controller's pods and those of its clean-up. */}}
{{- define "turnout.controllerPods" -}}
matchLabels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [controller, cleanup]
{{- end -}}
