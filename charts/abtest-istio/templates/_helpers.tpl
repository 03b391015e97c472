{{/* Names, and whose the weights are. */}}

{{- define "abtest-istio.namespace" -}}{{ .Values.namespace | default .Release.Namespace }}{{- end -}}

{{- define "abtest-istio.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: routes
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Takes root and colour. */}}
{{- define "abtest-istio.host" -}}
{{ .root.Values.svc.name }}-{{ .colour }}.{{ include "abtest-istio.namespace" .root }}.svc.cluster.local
{{- end -}}

{{/* The newest version of the API that the cluster has; `helm template` knows none. */}}
{{- define "abtest-istio.apiVersion" -}}
{{- $found := "" -}}
{{- range list "v1" "v1beta1" "v1alpha3" -}}
{{- $version := printf "networking.istio.io/%s" . -}}
{{- if and (not $found) ($.Capabilities.APIVersions.Has (printf "%s/VirtualService" $version)) }}{{ $found = $version }}{{ end -}}
{{- end -}}
{{ $found | default "networking.istio.io/v1" }}
{{- end -}}

{{/* Whether ModelRollouts are looked up. */}}
{{- define "abtest-istio.looksUp" -}}
{{- if and .Values.weight.keep (.Capabilities.APIVersions.Has "turnout.dev/v1alpha1/ModelRollout") }}true{{ end -}}
{{- end -}}

{{/* The specs of ModelRollouts that are there, by their names: of the one that the values name, and of all that this release
     has made. What an upgrade leaves out, helm takes for new in the one after it, and then changes nothing of it. What
     people ask for is none of the chart's. */}}
{{- define "abtest-istio.there" -}}
{{- $specs := dict -}}
{{- if include "abtest-istio.looksUp" . -}}
{{- range (lookup "turnout.dev/v1alpha1" "ModelRollout" (include "abtest-istio.namespace" .) "").items -}}
{{- $owner := dig "metadata" "annotations" dict . -}}
{{- $isOwn := and (eq (get $owner "meta.helm.sh/release-name") $.Release.Name) (eq (get $owner "meta.helm.sh/release-namespace") $.Release.Namespace) -}}
{{- if or $isOwn (and $.Values.rollout.enabled (eq .metadata.name $.Values.rollout.name)) -}}
{{- $_ := set $specs .metadata.name (omit .spec "revision" "attempt" "rollbackOf" "target" "paused" "approval") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $specs }}
{{- end -}}

{{/* The spec that the values say, where what they do not name stays as it is. Takes root and live. */}}
{{- define "abtest-istio.spec" -}}
{{- $mode := .root.Values.rollout.mode | default .live.mode | default "Gateway" -}}
{{- if and (eq $mode "Istio") (ne .root.Values.as "objects") -}}
{{- fail "rollout.mode: Istio reads objects; set as=objects" -}}
{{- end -}}
{{- $spec := mergeOverwrite (omit .live "route" "green" "blue") (deepCopy .root.Values.rollout.spec) -}}
{{- $_ := set $spec "mode" $mode -}}
{{- $_ := set $spec "route" (dict "virtualService" .root.Values.virtualService.name "http" "split") -}}
{{- range list "green" "blue" -}}
{{- $_ := set $spec . (dict "host" (printf "%s-%s" $.root.Values.svc.name .)) -}}
{{- end -}}
{{ toJson $spec }}
{{- end -}}

{{/* The ModelRollouts that govern the VirtualService, in this mode or in any, as a JSON list of their names, with the
     namespace where it is another one; none where nothing is to be looked up. Takes root and mode. */}}
{{- define "abtest-istio.rollouts" -}}
{{- $ns := include "abtest-istio.namespace" .root -}}
{{- $names := list -}}
{{- if include "abtest-istio.looksUp" .root -}}
{{- range $from := prepend .root.Values.weight.rolloutNamespaces $ns | uniq -}}
{{- range (lookup "turnout.dev/v1alpha1" "ModelRollout" $from "").items -}}
{{- $route := .spec.route -}}
{{- $is := and (eq $route.virtualService $.root.Values.virtualService.name) (eq ($route.namespace | default $from) $ns) -}}
{{- if and $is (has $.mode (list "" (.spec.mode | default "Gateway"))) -}}
{{- $names = append $names (eq $from $ns | ternary .metadata.name (printf "%s/%s" $from .metadata.name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson $names }}
{{- end -}}

{{/* The weights of the split that the cluster has, as {green, blue}; {} where it has none. */}}
{{- define "abtest-istio.live" -}}
{{- $green := include "abtest-istio.host" (dict "root" . "colour" "green") -}}
{{- $blue := include "abtest-istio.host" (dict "root" . "colour" "blue") -}}
{{- $found := dict -}}
{{- $live := lookup (include "abtest-istio.apiVersion" .) "VirtualService" (include "abtest-istio.namespace" .) .Values.virtualService.name -}}
{{- range dig "spec" "http" (list) $live -}}
{{- $weights := dict -}}
{{- range .route -}}
{{- $_ := set $weights .destination.host (.weight | default 0) -}}
{{- end -}}
{{- if and (not $found) (hasKey $weights $green) (hasKey $weights $blue) -}}
{{- $found = dict "green" (index $weights $green) "blue" (index $weights $blue) -}}
{{- end -}}
{{- end -}}
{{ toJson $found }}
{{- end -}}

{{/* The weights that the values name, as {green, blue}. */}}
{{- define "abtest-istio.named" -}}
{{- $green := .Values.weight.green -}}
{{- $blue := .Values.weight.blue -}}
{{- if kindIs "invalid" $green }}{{ $green = sub 100 (kindIs "invalid" $blue | ternary 0 $blue) }}{{ end -}}
{{- if kindIs "invalid" $blue }}{{ $blue = sub 100 $green }}{{ end -}}
{{- range $colour, $weight := dict "green" $green "blue" $blue -}}
{{- if lt (int $weight) 0 -}}
{{- fail (printf "weight.%s: the other one leaves nothing of 100; name both" $colour) -}}
{{- end -}}
{{- end -}}
{{- if not (add $green $blue) -}}
{{- fail "weight: green and blue are both 0, so that no request would be answered" -}}
{{- end -}}
{{ dict "green" (int $green) "blue" (int $blue) | toJson }}
{{- end -}}

{{/* The weights to write, as {green, blue}, and `of`: the rollouts whose they are. */}}
{{- define "abtest-istio.weights" -}}
{{- $weights := include "abtest-istio.named" . | fromJson -}}
{{- $rollouts := include "abtest-istio.rollouts" (dict "root" . "mode" "Istio") | fromJsonArray -}}
{{- if and (eq .Values.as "objects") $rollouts -}}
{{- with include "abtest-istio.live" . | fromJson }}{{ $weights = set . "of" $rollouts }}{{ end -}}
{{- end -}}
{{ toJson $weights }}
{{- end -}}
