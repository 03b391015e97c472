{{- define "turnout.notes" -}}
{{- $ns := .Release.Namespace -}}
{{- $governed := include "turnout.namespaces" . | fromJsonArray -}}
{{- $objects := include "turnout.documentsFromObjects" . -}}
Turnout {{ .Chart.AppVersion }} is installed as {{ .Release.Name }} in {{ $ns }}. It governs {{ join ", " $governed }}.
{{- if .Values.gateway.enabled }}

1. Give it routes. Until there is a first VirtualService, the gateways are ready and answer 503 no_routes.
{{- if $objects }}

     kubectl apply -n {{ first $governed }} -f virtualservice.yaml
     kubectl get virtualservices -n {{ first $governed }}
{{- if not (or .Values.crds.istio.install (.Capabilities.APIVersions.Has "networking.istio.io/v1")) }}

   The cluster does not know VirtualService yet: install Istio's CRDs, or upgrade with --set crds.istio.install=true.
{{- end }}
{{- else if .Values.documents.existingConfigMap }}

   They are read from the *.yaml keys of your ConfigMap {{ include "turnout.documents" . }}:

     kubectl get configmap -n {{ $ns }} {{ include "turnout.documents" . }}
{{- else if .Values.documents.inline }}

   They come from documents.inline. To see what the controller made of them:

     kubectl get configmap -n {{ $ns }} {{ include "turnout.routes" . }} -o yaml
{{- else }}

     helm upgrade {{ .Release.Name }} CHART -n {{ $ns }} --reuse-values --set-file 'documents.inline.routes\.yaml=routes.yaml'
{{- end }}

2. See what the gateways have.

     kubectl get pods -n {{ $ns }} -l app.kubernetes.io/instance={{ .Release.Name }}
     turnout routes --gateway-namespace {{ $ns }}

3. Send a request.
{{ if eq .Values.gateway.service.type "LoadBalancer" }}
     kubectl get service -n {{ $ns }} {{ include "turnout.gateway" . }} --watch      # until it has an address
     curl http://$(kubectl get service -n {{ $ns }} {{ include "turnout.gateway" . }} -o jsonpath='{.status.loadBalancer.ingress[0].ip}'):{{ (first .Values.gateway.service.ports).port }}{{ .Values.test.path }}
{{- else }}
     kubectl port-forward -n {{ $ns }} service/{{ include "turnout.gateway" . }} 8080:{{ (first .Values.gateway.service.ports).port }}
     curl http://127.0.0.1:8080{{ .Values.test.path }}
{{- end }}
{{- if .Values.test.enabled }}
     helm test {{ .Release.Name }} -n {{ $ns }} --logs      # its pod stays until the next test
{{- end }}

4. Roll a model out.
{{- else }}

There is no gateway: Istio serves, and the controller moves the weights of its VirtualServices.

1. Roll a model out. The ModelRollout has `mode: Istio`.
{{- end }}

     kubectl apply -n {{ first $governed }} -f modelrollout.yaml
     turnout rollout status -n {{ first $governed }} NAME --watch
     turnout rollout promote -n {{ first $governed }} NAME

When something does not work:

     turnout check -n {{ first $governed }} --gateway-namespace {{ $ns }}
     kubectl logs -n {{ $ns }} deployment/{{ include "turnout.controller" . }}
{{- if .Values.cleanup.enabled }}

`helm uninstall` first runs the Job {{ include "turnout.fullname" . }}-cleanup, which takes the twin Services away.
{{- end }}
CustomResourceDefinitions stay.
{{- end -}}
