{{/* What all pods of the chart have in common. */}}

{{/* With the container's, what Pod Security calls restricted. 65532 is the user of the images. */}}
{{- define "turnout.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "turnout.containerSecurityContext" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Takes root and values: those of the gateway or the controller. The images are for Linux alone, and a cluster may have
     Windows nodes as well. */}}
{{- define "turnout.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- toYaml (mergeOverwrite (dict "kubernetes.io/os" "linux") (.values.nodeSelector | default dict)) | nindent 2 }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* For a pod that runs once and serves nothing. Takes program. */}}
{{- define "turnout.probesOfOnce" -}}
{{- range list "readinessProbe" "livenessProbe" }}
{{ . }}:
  exec:
    command: [/{{ $.program }}, --version]
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
{{- end -}}

{{/* Takes root, component and spread. */}}
{{- define "turnout.spread" -}}
{{- $constraints := list -}}
{{- range $key, $topology := dict "node" "kubernetes.io/hostname" "zone" "topology.kubernetes.io/zone" -}}
{{- $when := index $.spread $key -}}
{{- if ne $when "Disabled" -}}
{{- $constraints = append $constraints (dict "topology" $topology "when" $when) -}}
{{- end -}}
{{- end -}}
{{- with $constraints }}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ .topology }}
    whenUnsatisfiable: {{ .when }}
    labelSelector:
      matchLabels:
        {{- include "turnout.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* A setting's value as its flag takes it. YAML's numbers come as floats, which print large ones with an exponent. */}}
{{- define "turnout.flag" -}}
{{- if kindIs "bool" .value -}}
{{- if .value }}--{{ kebabcase .name }}{{ end -}}
{{- else if kindIs "slice" .value -}}
{{- with .value }}--{{ kebabcase $.name }}={{ join "," . }}{{ end -}}
{{- else if kindIs "string" .value -}}
{{- with .value }}--{{ kebabcase $.name }}={{ . }}{{ end -}}
{{- else if not (kindIs "invalid" .value) -}}
--{{ kebabcase .name }}={{ int64 .value }}
{{- end -}}
{{- end -}}

{{/* The controller's flags; `cleanup` takes the same. */}}
{{- define "turnout.controllerFlags" -}}
- --namespaces={{ include "turnout.namespaces" . | fromJsonArray | join "," }}
{{- if .Values.gateway.enabled }}
- --gateway-service={{ include "turnout.gateway" . }}
- --gateway-status-port={{ .Values.gateway.statusPort }}
- --routes-configmap={{ include "turnout.routes" . }}
{{- end }}
{{- if include "turnout.documentsFromObjects" . }}
- --documents=objects
{{- else }}
- --documents=configmap:{{ include "turnout.documents" . }}
{{- end }}
- --registry={{ .Values.registry }}
{{- with .Values.sharedRouteNamespaces }}
- --shared-route-namespaces={{ join "," . }}
{{- end }}
{{- with .Values.controller.class }}
- --class={{ . }}
{{- end }}
- --lease={{ include "turnout.lease" . }}
- {{ printf "--log=%s" .Values.controller.log | quote }}
- --log-format={{ .Values.controller.logFormat }}
{{- end -}}

{{- define "turnout.controllerEnv" -}}
- name: TURNOUT_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: TURNOUT_IDENTITY
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- with .Values.controller.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
